//! The termination log: a file that Kubernetes puts into the container and reads when it has ended.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::call;

const PATH: &str = "/dev/termination-log";

/// What Kubernetes reads of it.
const MAX_BYTES: usize = 4096;

/// Leaves the text there if the file is there. Never makes it: without Kubernetes nobody would read it.
pub fn leave(text: &str) {
    let end = text.floor_char_boundary(MAX_BYTES);
    if let Err(error) = write(text.get(..end).unwrap_or_default()) {
        say!(Debug, "{PATH}: {}", call::reason(&error));
    }
}

fn write(text: &str) -> io::Result<()> {
    let flags = libc::O_WRONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = call::open(Path::new(PATH), flags)?;
    if !call::is_file(&call::status_of(file.as_fd())?) {
        return Err(call::refusal("it is not a file"));
    }
    nix::unistd::ftruncate(&file, 0)?;
    Ok(call::write_all(file.as_fd(), text.as_bytes())?)
}
