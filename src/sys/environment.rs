//! The environment of a child: what we inherited, byte for byte, and what its launch sets over it. Either may be thousands of
//! variables: Kubernetes names each service of a namespace in seven.

#![expect(
    unsafe_code,
    reason = "the environment as it really is; the standard library drops what has no equals sign"
)]

use std::cmp::Ordering;
use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::call::reason;
use super::child::Strings;
use super::users::Resolved;
use super::{descriptors, logfile};
use crate::event::{Launch, Mark, StartError, Surroundings};
use crate::sorted::Map;

/// The most that a file of `env_from_file` may hold: the kernel's limit for one string of the environment.
const FILE_MAX_BYTES: usize = 128 << 10;

/// Searched where `PATH` is not set.
pub const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const MARK_SERVICE: &[u8] = b"TINYSUP_SERVICE";
const MARK_INSTANCE: &[u8] = b"TINYSUP_INSTANCE";

/// What an init tells its own child: about sockets and descriptors that a service of ours does not get, and whom to tell how it is.
const OF_OUR_PARENT: [&[u8]; 6] =
    [b"NOTIFY_SOCKET", b"WATCHDOG_USEC", b"WATCHDOG_PID", b"LISTEN_FDS", b"LISTEN_PID", b"LISTEN_FDNAMES"];

/// Whether the environment of a process, as /proc shows it, has this mark.
pub fn carries(environ: &[u8], mark: &Mark) -> bool {
    let instance = mark.instance.to_string();
    let has = |name: &[u8], value: &[u8]| {
        environ.split(|byte| *byte == 0).any(|string| value_of(string, name) == Some(value))
    };
    has(MARK_SERVICE, mark.service.as_bytes()) && has(MARK_INSTANCE, instance.as_bytes())
}

/// What we inherited, where the kernel put it: a child's strings point there, so no start copies them.
#[derive(Debug)]
pub struct Environment(Vec<Variable>);

#[derive(Debug)]
struct Variable {
    string: &'static CStr,
    /// How long its name is; 0 where it has none, for want of an equals sign.
    name: usize,
    /// Whether it is `OF_OUR_PARENT`.
    of_our_parent: bool,
}

impl Environment {
    /// Ours, as we got it.
    #[inline(never)]
    pub fn inherited() -> Self {
        let mut variables = Vec::new();
        find_inherited(&mut |string| {
            variables.push(Variable::new(string.whole()));
            false
        });
        Self(variables)
    }

    /// That of a child: each name at most once, unless it was inherited so, and what is set behind what is inherited.
    #[inline(never)]
    pub fn of_child(
        &self,
        launch: &Launch,
        identity: &Resolved,
        extra: &[(&'static str, String)],
    ) -> Result<Strings, Box<StartError>> {
        let mut own = Own::default();
        if let Some((name, home)) = &identity.login {
            own.set(b"HOME", home);
            own.set(b"USER", name.as_bytes());
            own.set(b"LOGNAME", name.as_bytes());
        }
        for (name, value) in &launch.env {
            own.set(name.as_bytes(), value.reveal().as_bytes());
        }
        for (name, path) in &*launch.env_from_file {
            let value = read(path).map_err(|error| StartError::EnvFile {
                variable: name.to_string_lossy().into_owned(),
                path: path.to_string_lossy().into_owned(),
                reason: error,
            })?;
            own.set(name.as_bytes(), &value);
        }
        for (name, value) in extra {
            own.set(name.as_bytes(), value.as_bytes());
        }
        if let Some(mark) = &launch.mark {
            own.set(MARK_SERVICE, mark.service.as_bytes());
            own.set(MARK_INSTANCE, mark.instance.to_string().as_bytes());
        }
        if let Some(name) = own.refused {
            return Err(StartError::Other {
                what: format!("set the variable \"{}\"", OsStr::from_bytes(name).display()),
                reason: "a name must have no \"=\", and neither it nor its value a NUL".to_owned(),
            }
            .into());
        }
        let inherited = if launch.inherit_env { self.0.as_slice() } else { &[] };
        Ok(own.over(inherited, launch.surroundings == Surroundings::Service))
    }
}

impl Variable {
    fn new(string: &'static CStr) -> Self {
        let bytes = string.to_bytes();
        let name = crate::search::first(b'=', bytes).unwrap_or(0);
        Self {
            string,
            name,
            of_our_parent: OF_OUR_PARENT.iter().any(|theirs| bytes.get(..name) == Some(theirs)),
        }
    }
}

/// What is set for one child, one after the other.
#[derive(Default)]
struct Own<'a> {
    names: Vec<(Name<'a>, usize)>,
    strings: Vec<CString>,
    /// A name that cannot be set, or not to its value.
    refused: Option<&'a [u8]>,
}

impl<'a> Own<'a> {
    #[inline(never)]
    fn set(&mut self, name: &'a [u8], value: &[u8]) {
        match CString::from_vec_with_nul([name, b"=", value, b"\0"].concat()) {
            Ok(string) if !name.is_empty() && crate::search::first(b'=', name).is_none() => {
                self.names.push((Name(name), self.strings.len()));
                self.strings.push(string);
            }
            _ => self.refused = Some(name),
        }
    }

    /// The last of each name, behind those that were inherited under none of these names.
    #[inline(never)]
    fn over(self, inherited: &[Variable], service: bool) -> Strings {
        let count = self.strings.len();
        let last = Map::ordered(self.names);
        // Most that are inherited have a name of a length that none of these has.
        let (mut lengths, mut stand) = (0, vec![false; count]);
        for (name, at) in &last {
            lengths |= bit(name.0.len());
            if let Some(stands) = stand.get_mut(*at) {
                *stands = true;
            }
        }
        let mut strings = Strings::with_capacity(inherited.len() + count);
        for variable in inherited {
            let replaced = lengths & bit(variable.name) != 0 && {
                let name = variable.string.to_bytes().get(..variable.name);
                last.contains_key(&Name(name.unwrap_or_default()))
            };
            if !(replaced || service && variable.of_our_parent) {
                strings.add(variable.string);
            }
        }
        for (string, stands) in self.strings.into_iter().zip(stand) {
            if stands {
                strings.own(string);
            }
        }
        strings
    }
}

fn bit(length: usize) -> u64 {
    1 << (length % 64)
}

/// A name to be compared; the tests count how often.
struct Name<'a>(&'a [u8]);

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Name<'_> {}

impl Ord for Name<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        #[cfg(test)]
        tests::COMPARED.set(tests::COMPARED.get() + 1);
        self.0.cmp(other.0)
    }
}

impl PartialOrd for Name<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The value of a variable of a child; the first where it was inherited more than once.
pub fn value<'a>(strings: &'a Strings, name: &[u8]) -> Option<&'a [u8]> {
    strings.iter().find_map(|string| value_of(string.to_bytes(), name))
}

/// The value of a variable of ours. What the standard library has for it takes a lock, for those who change theirs.
#[inline(never)]
pub fn variable(name: &[u8]) -> Option<OsString> {
    let mut value = None;
    find_inherited(&mut |string| {
        value = string.value(name);
        value.is_some()
    });
    value.map(|value| OsStr::from_bytes(value.to_bytes()).to_owned())
}

/// A string of our environment.
#[derive(Clone, Copy)]
struct Inherited(*const c_char);

impl Inherited {
    fn whole(self) -> &'static CStr {
        // SAFETY: only one thread runs and nothing changes the environment, ever; each string has a zero at its end.
        unsafe { CStr::from_ptr(self.0) }
    }

    /// The value, if this is the name. Looks no further than they are the same: nearly all differ soon.
    fn value(self, name: &[u8]) -> Option<&'static CStr> {
        let mut at = self.0;
        for byte in name.iter().chain(b"=") {
            // SAFETY: as above; none before was the zero at the end.
            let there: u8 = unsafe { *at.cast() };
            if there != *byte || there == 0 {
                return None;
            }
            at = at.wrapping_add(1);
        }
        Some(Self(at).whole())
    }
}

/// Shows the strings of our environment until one is the last that is wanted.
fn find_inherited(last: &mut dyn FnMut(Inherited) -> bool) {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: as above; the array ends with a null.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() && !last(Inherited(*at)) {
            at = at.add(1);
        }
    }
}

fn value_of<'a>(string: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    // Nearly all are told apart by the byte behind the name, and whoever asks compares some hundred.
    match string.get(name.len()..)? {
        [b'=', value @ ..] if string.starts_with(name) => Some(value),
        _ => None,
    }
}

/// A secret's file, without its last newline. Never waits, whatever somebody put there.
#[inline(never)]
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: io::Error| reason(&error);
    let file = logfile::open_to_read(path).map_err(told)?;
    let mut value = descriptors::contents(&file, FILE_MAX_BYTES + 1).map_err(told)?;
    if value.len() > FILE_MAX_BYTES {
        return Err("it is larger than 128 KiB".to_owned());
    }
    if value.contains(&0) {
        return Err("it has a NUL byte, which no variable can hold".to_owned());
    }
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    thread_local! {
        /// How often names were compared.
        pub static COMPARED: Cell<u64> = const { Cell::new(0) };
    }

    fn inherited(strings: &[&str]) -> Vec<Variable> {
        let strings = strings.iter().map(|string| CString::new(*string).unwrap());
        strings.map(|string| Variable::new(Box::leak(string.into_boxed_c_str()))).collect()
    }

    fn own<'a>(set: &[(&'a str, &str)]) -> Own<'a> {
        let mut own = Own::default();
        for (name, value) in set {
            own.set(name.as_bytes(), value.as_bytes());
        }
        assert_eq!(own.refused, None);
        own
    }

    #[track_caller]
    fn check(strings: &[&str], set: &[(&str, &str)], service: bool, expected: &[&str]) -> Strings {
        let child = own(set).over(&inherited(strings), service);
        let expected = expected.iter().map(|string| string.as_bytes());
        assert!(child.iter().map(CStr::to_bytes).eq(expected), "{child:?}");
        child
    }

    #[test]
    fn setting_replaces_every_bearer_of_the_name() {
        let strings = ["A=1", "AB=2", "odd", "A=3", "B=", "odd", "A", "=A", "AB=4"];
        check(&strings, &[], true, &strings);
        let rest = ["AB=2", "odd", "B=", "odd", "A", "=A", "AB=4"];
        let child = check(&strings, &[("A", "x=y")], true, &[&rest[..], &["A=x=y"]].concat());
        assert_eq!(value(&child, b"A"), Some(&b"x=y"[..]));
        assert_eq!(value(&child, b"AB"), Some(&b"2"[..]), "the first of two");
        assert_eq!((value(&child, b"B"), value(&child, b"odd")), (Some(&b""[..]), None));
        // The last counts, where it was set.
        check(
            &strings,
            &[("A", "1"), ("odd", "2"), ("A", "3")],
            true,
            &[&rest[..], &["odd=2", "A=3"]].concat(),
        );
        check(&[], &[("B", "1"), ("A", "2"), ("C", "3"), ("B", "4")], true, &["A=2", "C=3", "B=4"]);
        // Lengths that are the same but for a multiple of what they are told apart by.
        let long = format!("{}=1", "A".repeat(65));
        check(&[&long], &[("A", "2")], true, &[&long, "A=2"]);
    }

    #[test]
    fn a_variable_of_ours_is_known_by_all_of_its_name() {
        let string = Inherited(c"NAME=a=b".as_ptr());
        for (name, value) in [
            ("NAME", Some(c"a=b")),
            ("NAME=a", Some(c"b")),
            ("NAM", None),
            ("NAMES", None),
            ("", None),
            ("NAME=a=b", None),
            ("NAME=a=b\0", None),
        ] {
            assert_eq!(string.value(name.as_bytes()), value, "{name:?}");
        }
        assert_eq!(variable(b"PATH"), std::env::var_os("PATH"));
        assert_eq!(variable(b"PAT"), None);
    }

    #[test]
    fn what_our_parent_says_to_us_is_not_for_services() {
        let strings = ["LISTEN_FDS=1", "A=1", "LISTEN_FDSX=1", "NOTIFY_SOCKET=x", "LISTEN_PID"];
        check(&strings, &[("A", "2")], true, &["LISTEN_FDSX=1", "LISTEN_PID", "A=2"]);
        check(
            &strings,
            &[("LISTEN_FDS", "2")],
            true,
            &["A=1", "LISTEN_FDSX=1", "LISTEN_PID", "LISTEN_FDS=2"],
        );
        check(
            &strings,
            &[("LISTEN_FDSX", "2")],
            false,
            &["LISTEN_FDS=1", "A=1", "NOTIFY_SOCKET=x", "LISTEN_PID", "LISTEN_FDSX=2"],
        );
    }

    /// Kubernetes' variables may be thousands, and so may those of a file.
    #[test]
    fn many_variables_are_looked_at_a_few_times_each() {
        const COUNT: usize = 16_000;
        let names: Vec<String> = (0..COUNT).map(|number| format!("{:05}", number * 7919 % COUNT)).collect();
        let strings: Vec<String> = names.iter().map(|name| format!("{name}=inherited")).collect();
        let strings = inherited(&strings.iter().map(String::as_str).collect::<Vec<_>>());
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "set")).collect();
        for (set, factor) in [(&many[..0], 0), (&many[..50], 8), (&many[..], 32)] {
            COMPARED.set(0);
            let child = own(set).over(&strings, true);
            assert_eq!(child.iter().count(), COUNT);
            assert_eq!(child.iter().filter(|string| string.to_bytes().ends_with(b"=set")).count(), set.len());
            let most = u64::try_from(factor * COUNT).unwrap();
            assert!(COMPARED.get() <= most, "{} comparisons for {} variables set", COMPARED.get(), set.len());
        }
    }

    #[test]
    fn what_no_environment_can_hold_is_refused() {
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0y"), ("A", "x\0")] {
            let mut own = Own::default();
            own.set(name.as_bytes(), value.as_bytes());
            own.set(b"GOOD", b"");
            assert_eq!(own.refused, Some(name.as_bytes()), "{value:?}");
        }
    }

    #[test]
    fn a_mark_is_both_variables() {
        let mark = Mark { service: Rc::from("web"), instance: 2 };
        for (environ, expected) in [
            ("A=1\0TINYSUP_INSTANCE=2\0TINYSUP_SERVICE=web\0", true),
            ("TINYSUP_SERVICE=web\0TINYSUP_INSTANCE=2", true),
            ("TINYSUP_SERVICE=web\0TINYSUP_INSTANCE=1\0", false),
            ("TINYSUP_SERVICE=website\0TINYSUP_INSTANCE=2\0", false),
            ("XTINYSUP_SERVICE=web\0TINYSUP_INSTANCE=2\0", false),
            ("", false),
        ] {
            assert_eq!(carries(environ.as_bytes(), &mark), expected, "{environ:?}");
        }
    }
}
