//! Lists from iterators, in little code.

/// What an iterator gives, one by one.
pub trait Gather: Iterator + Sized {
    /// All of it as a list. `collect` makes room for what the iterator says that will come, which is more code than this in each place,
    /// three times as much on average; here lists are short, or made once.
    fn gather(self) -> Vec<Self::Item> {
        let mut list = Vec::new();
        self.add_to(&mut list);
        list
    }

    /// All of it behind what is in a list already; as `extend`, which is twice the code.
    fn add_to(self, list: &mut Vec<Self::Item>) {
        for one in self {
            list.push(one);
        }
    }
}

impl<I: Iterator> Gather for I {}

/// Those of some texts that are there.
#[inline(never)]
pub fn present(texts: &mut [Option<String>]) -> Vec<String> {
    let mut list = Vec::new();
    for text in texts {
        if let Some(text) = text.take() {
            list.push(text);
        }
    }
    list
}
