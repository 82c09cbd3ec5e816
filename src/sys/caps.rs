//! Capabilities of the calling process. Everything here is plain system calls without memory of its own, so that it may run
//! between fork and exec.

#![expect(unsafe_code, reason = "the C library has no functions for capabilities")]

use nix::errno::Errno;

use super::call;

/// A set of capabilities: bit n stands for capability n.
pub type CapabilitySet = u64;

const VERSION_3: u32 = 0x2008_0522;
const PR_CAP_AMBIENT: libc::c_int = 47;
const PR_CAP_AMBIENT_RAISE: libc::c_ulong = 2;
const PR_CAP_AMBIENT_CLEAR_ALL: libc::c_ulong = 4;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Takes all but these out of the bounding set, so that no later exec brings them back.
pub fn bound(keep: CapabilitySet) -> Result<(), Errno> {
    for number in 0..CapabilitySet::BITS {
        match prctl(libc::PR_CAPBSET_READ, number.into(), 0) {
            Err(_) => return Ok(()), // more than this kernel knows
            Ok(1) if keep & (1 << number) == 0 => prctl(libc::PR_CAPBSET_DROP, number.into(), 0)?,
            Ok(_) => 0,
        };
    }
    Ok(())
}

/// Makes these the permitted, effective and inheritable capabilities.
pub fn set(keep: CapabilitySet) -> Result<(), Errno> {
    let header = Header { version: VERSION_3, pid: 0 };
    let half = |bits: CapabilitySet| {
        let bits = u32::try_from(bits & CapabilitySet::from(u32::MAX)).unwrap_or(0);
        Half { effective: bits, permitted: bits, inheritable: bits }
    };
    let halves = [half(keep), half(keep >> 32)];
    // SAFETY: version 3 reads one header and two halves, which live here.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) }).map(drop)
}

/// Makes these the capabilities that a user other than root keeps through exec. They must be permitted and inheritable.
pub fn make_ambient(keep: CapabilitySet) -> Result<(), Errno> {
    // Older kernels have none to clear.
    let _ = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0);
    for number in (0..CapabilitySet::BITS).filter(|number| keep & (1 << number) != 0) {
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number.into())?;
    }
    Ok(())
}

/// Lets the permitted capabilities survive the next change of user.
pub fn keep_through_switch() -> Result<(), Errno> {
    prctl(libc::PR_SET_KEEPCAPS, 1, 0).map(drop)
}

/// Whether orphans among our descendants come to us.
pub fn is_subreaper() -> bool {
    let mut subreaper: libc::c_int = 0;
    // SAFETY: writes one int that lives here.
    let result =
        unsafe { libc::syscall(libc::SYS_prctl, libc::PR_GET_CHILD_SUBREAPER, &raw mut subreaper, 0, 0, 0) };
    result == 0 && subreaper != 0
}

/// prctl(2) with up to two arguments; the rest must be zero.
pub fn prctl(option: libc::c_int, first: libc::c_ulong, second: libc::c_ulong) -> Result<libc::c_int, Errno> {
    const ZERO: libc::c_ulong = 0;
    // SAFETY: none of the options used here takes a pointer.
    call::number(unsafe { libc::syscall(libc::SYS_prctl, option, first, second, ZERO, ZERO) })
}
