//! The termination log: a file that Kubernetes puts into the container and reads when it has ended.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

const PATH: &str = "/dev/termination-log";

/// What Kubernetes reads of it.
const MAX_BYTES: usize = 4096;

/// Leaves the text there if the file is there. Never makes it: without Kubernetes nobody would read it.
pub fn leave(text: &str) {
    let end = text.floor_char_boundary(MAX_BYTES);
    if let Err(error) = write(text.get(..end).unwrap_or_default()) {
        say!(Debug, "{PATH}: {error}");
    }
}

fn write(text: &str) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut file = OpenOptions::new().write(true).custom_flags(flags).open(PATH)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    file.set_len(0)?;
    file.write_all(text.as_bytes())
}
