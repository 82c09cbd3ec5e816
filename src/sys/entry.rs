//! Where the C library enters the program, in place of Rust's runtime: that would look for the stack's end in /proc, and take over
//! SIGSEGV, SIGBUS and SIGPIPE, on the way of every start. We have one small stack, and all signals are blocked.
//!
//! Part of the program, never of the library.

#![expect(unsafe_code, reason = "the arguments as the C library hands them over")]

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

// SAFETY: the C library calls this name, once, and nobody else defines it.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    let word = |index| {
        // SAFETY: as many strings as it says, each with its end, which live as long as the process.
        let bytes = unsafe { CStr::from_ptr(*words.add(index)) }.to_bytes();
        OsString::from(OsStr::from_bytes(bytes))
    };
    let words = (0..usize::try_from(count).unwrap_or(0)).map(word);
    c_int::from(super::run(words))
}
