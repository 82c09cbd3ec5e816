//! The environment of a child: what we inherited, byte for byte, and what its launch sets over it.

#![expect(
    unsafe_code,
    reason = "the environment as it really is; the standard library drops what has no equals sign"
)]

use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::descriptors;
use super::users::Resolved;
use crate::event::{Launch, Mark, StartError, Surroundings};
use crate::gather::Gather;
use crate::units::reason;

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

/// `NAME=value` strings, each name at most once unless it was inherited so, and each with the zero at its end that execve(2) wants.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<Vec<u8>>);

impl Environment {
    /// Ours, as we got it.
    pub fn inherited() -> Self {
        let mut strings = Vec::new();
        find_inherited(&mut |string| {
            strings.push(string.to_vec());
            false
        });
        Self(strings)
    }

    /// That of a child.
    pub fn of_child(
        &self,
        launch: &Launch,
        identity: &Resolved,
        extra: &[(&'static str, String)],
    ) -> Result<Self, Box<StartError>> {
        let mut child = if launch.inherit_env { self.clone() } else { Self::default() };
        if launch.surroundings == Surroundings::Service {
            for name in OF_OUR_PARENT {
                child.unset(name);
            }
        }
        if let Some((name, home)) = &identity.login {
            child.set(b"HOME", home)?;
            child.set(b"USER", name.as_bytes())?;
            child.set(b"LOGNAME", name.as_bytes())?;
        }
        for (name, value) in &launch.env {
            child.set(name.as_bytes(), value.reveal().as_bytes())?;
        }
        for (name, path) in &*launch.env_from_file {
            let value = read(path).map_err(|error| StartError::EnvFile {
                variable: name.to_string_lossy().into_owned(),
                path: path.to_string_lossy().into_owned(),
                reason: error,
            })?;
            child.set(name.as_bytes(), &value)?;
        }
        for (name, value) in extra {
            child.set(name.as_bytes(), value.as_bytes())?;
        }
        if let Some(mark) = &launch.mark {
            child.set(MARK_SERVICE, mark.service.as_bytes())?;
            child.set(MARK_INSTANCE, mark.instance.to_string().as_bytes())?;
        }
        Ok(child)
    }

    /// The value of a variable.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.iter().find_map(|string| without_end(value_of(string, name)))
    }

    /// As execve(2) takes it.
    pub fn into_strings(self) -> Vec<CString> {
        // None has another zero: neither what we inherited nor what `set` let in.
        self.0.into_iter().filter_map(|string| CString::from_vec_with_nul(string).ok()).gather()
    }

    fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), Box<StartError>> {
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) || value.contains(&0) {
            return Err(StartError::Other {
                what: format!("set the variable \"{}\"", OsStr::from_bytes(name).display()),
                reason: "a name must have no \"=\", and neither it nor its value a NUL".to_owned(),
            }
            .into());
        }
        self.unset(name);
        self.0.push([name, b"=", value, b"\0"].concat());
        Ok(())
    }

    fn unset(&mut self, name: &[u8]) {
        self.0.retain(|string| value_of(string, name).is_none());
    }
}

/// The value of a variable of ours. What the standard library has for it takes a lock, for those who change theirs.
#[inline(never)]
pub fn variable(name: &[u8]) -> Option<OsString> {
    let mut value = None;
    find_inherited(&mut |string| {
        value = without_end(value_of(string, name)).map(|value| OsStr::from_bytes(value).to_owned());
        value.is_some()
    });
    value
}

/// Shows the strings of our environment, their ends among them, until one is the last that is wanted.
fn find_inherited(last: &mut dyn FnMut(&[u8]) -> bool) {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: only one thread runs and nothing changes the environment; the array ends with a null, and each string
    // with a zero.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() && !last(CStr::from_ptr(*at).to_bytes_with_nul()) {
            at = at.add(1);
        }
    }
}

fn without_end(value: Option<&[u8]>) -> Option<&[u8]> {
    value?.strip_suffix(b"\0")
}

fn value_of<'a>(string: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    // Nearly all are told apart by the byte behind the name, and each start of a service compares some hundred.
    match string.get(name.len()..)? {
        [b'=', value @ ..] if string.starts_with(name) => Some(value),
        _ => None,
    }
}

/// A secret's file, without its last newline. Never waits, whatever somebody put there.
#[inline(never)]
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: io::Error| reason(&error);
    let file = descriptors::open_file(path).map_err(told)?;
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
    use std::rc::Rc;

    use super::*;

    fn environment(strings: &[&str]) -> Environment {
        Environment(strings.iter().map(|string| format!("{string}\0").into_bytes()).collect())
    }

    #[test]
    fn setting_replaces_every_bearer_of_the_name() {
        let mut child = environment(&["A=1", "AB=2", "odd", "A=3", "B="]);
        child.set(b"A", b"x=y").unwrap();
        assert_eq!(child.0, environment(&["AB=2", "odd", "B=", "A=x=y"]).0);
        assert_eq!(child.get(b"A"), Some(&b"x=y"[..]));
        assert_eq!((child.get(b"B"), child.get(b"odd")), (Some(&b""[..]), None));
    }

    #[test]
    fn what_no_environment_can_hold_is_refused() {
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0y")] {
            assert!(environment(&[]).set(name.as_bytes(), value.as_bytes()).is_err(), "{name:?} {value:?}");
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
