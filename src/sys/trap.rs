//! Traps: the instruction that no processor executes, which the compiler puts where nothing can go. A release made for size has one
//! behind every invariant, instead of the words of a panic (`scripts/build-musl`). Running into it is told, by where that was, and ends
//! us as a panic does (`panic`). The same signal of a person or a program is passed on as ever. Why so: docs/decisions/broken.md.

#![expect(unsafe_code, reason = "a signal handler, and the stack that it looks at")]

use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use super::descriptors::STDOUT;
use super::signals::{bit, exchange_disposition};
use super::{panic, terminal};

/// What the processor raises: for `ud2` of x86 an invalid opcode, for `brk` of ARM a breakpoint.
pub const SIGNAL: libc::c_int = if cfg!(target_arch = "x86_64") { libc::SIGILL } else { libc::SIGTRAP };

/// The place of the trap and the calls that led there, at most.
const PLACES: usize = 12;

/// Gets to know of traps from now on, in this thread.
pub fn catch() {
    let mut action = [0_usize; 8];
    // The kernel's sigaction: the handler first, then flags, what the handler returns to, and the mask, which is empty. The C library's
    // function is no way to it: musl's lets signals 33 and 34 in.
    action[0] = (trapped as *const ()).addr();
    #[cfg(target_arch = "x86_64")]
    {
        action[1] = SA_RESTORER;
        action[2] = (restorer as *const ()).addr();
    }
    action[1] |= (libc::SA_SIGINFO | libc::SA_RESTART).cast_unsigned() as usize;
    // SAFETY: the handler makes plain system calls only, and what it returns to does as the kernel wants; reads the action, which lives
    // here and is less than that everywhere.
    let _ = unsafe { exchange_disposition(SIGNAL, &raw const action) };
    let_in();
}

/// There is something that the handler returns to (sigaction(2)); x86 demands it.
#[cfg(target_arch = "x86_64")]
const SA_RESTORER: usize = 0x0400_0000;

/// SYS_rt_sigreturn, by which the kernel puts back what it had interrupted.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
extern "C" fn restorer() {
    std::arch::naked_asm!("mov eax, {number}", "syscall", number = const libc::SYS_rt_sigreturn)
}

/// Whether signals are read from a descriptor, now or as soon as there is one.
static READ: AtomicBool = AtomicBool::new(true);

/// Whether they are, from now on; else what somebody sends ends this process, as it does others.
pub fn read(signals: bool) {
    READ.store(signals, Ordering::Relaxed);
}

/// After one that somebody sent has been read: so long it was kept out.
pub fn let_in() {
    let set = bit(SIGNAL);
    // SAFETY: reads one u64 that lives here.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_UNBLOCK,
            &raw const set,
            ptr::null::<u64>(),
            8_usize,
        );
    }
}

extern "C" fn trapped(_: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let context = context.cast::<libc::ucontext_t>();
    let errno = Errno::last_raw();
    // SAFETY: the kernel hands over both, for as long as the handler runs, and takes the mask back.
    unsafe {
        if (*info).si_code > 0 {
            let (place, frame) = registers(&(*context).uc_mcontext);
            ends_us(place, frame);
        }
        // Somebody sent it.
        if READ.load(Ordering::Relaxed) {
            // It waits, blocked, to be read in its turn, with its sender.
            *(&raw mut (*context).uc_sigmask).cast::<u64>() |= bit(SIGNAL);
        } else {
            let _ = exchange_disposition(SIGNAL, &[libc::SIG_DFL, 0, 0, 0, 0, 0, 0, 0]);
        }
        if libc::syscall(libc::SYS_rt_sigqueueinfo, libc::getpid(), SIGNAL, info) != 0 {
            libc::kill(libc::getpid(), SIGNAL); // a filter: better without its sender than not at all
        }
    }
    Errno::set_raw(errno); // of whoever was interrupted
}

/// Ends the process because it ran into a trap at that place, in that frame of the stack, 0 if that is not known.
pub fn ends_us(place: u64, mut frame: u64) -> ! {
    let_in(); // one on the way to the end comes here as well
    let mut text = [b' '; PLACES * 19];
    let mut rest = text.as_mut_slice();
    let mut next = Some(place);
    for _ in 0..PLACES {
        let Some(address) = next else { break };
        rest = hexadecimal(address, rest);
        next = caller(&mut frame);
    }
    let unused = rest.len() + 1;
    let length = text.len().saturating_sub(unused);
    terminal::give_back(STDOUT);
    panic::broken(text.get(..length).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default())
}

/// Where it was, and what its frame of the stack begins with.
#[cfg(target_arch = "x86_64")]
fn registers(machine: &libc::mcontext_t) -> (u64, u64) {
    let register = |number: libc::c_int| {
        let value = usize::try_from(number).ok().and_then(|number| machine.gregs.get(number));
        value.map_or(0, |value| value.cast_unsigned())
    };
    (register(libc::REG_RIP), register(libc::REG_RBP))
}

#[cfg(target_arch = "aarch64")]
fn registers(machine: &libc::mcontext_t) -> (u64, u64) {
    (machine.pc, machine.regs.get(29).copied().unwrap_or(0))
}

unsafe extern "C" {
    /// Where the linker has put the first byte of the program and the first behind its code (end(3)).
    static __executable_start: u8;
    static etext: u8;
}

/// So much lower than elsewhere all frame pointers are in a release for x86-64: scripts/shrink/frames.rs.
const LOWER: u64 = if cfg!(shrunk) { 128 } else { 0 };

/// The address that a function returns to, by its frame, which becomes that of its caller: the two words that a frame pointer points
/// to. `None` where there is none, or what was in the register is no frame pointer: nothing but code is ever told. The kernel reads the
/// words: a wrong address is an error then.
fn caller(frame: &mut u64) -> Option<u64> {
    let mut words = [0_u64; 2];
    let into = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: size_of_val(&words) };
    let frame_begins = usize::try_from(frame.checked_add(LOWER)?).ok()?;
    let from = libc::iovec { iov_base: ptr::with_exposed_provenance_mut(frame_begins), ..into };
    // SAFETY: writes as many bytes as said into words that live here.
    let read = unsafe { libc::process_vm_readv(libc::getpid(), &raw const into, 1, &raw const from, 1, 0) };
    let [outer, address] = words;
    let found = usize::try_from(read) == Ok(into.iov_len);
    *frame = outer;
    let code = (&raw const __executable_start).addr() as u64..(&raw const etext).addr() as u64;
    (found && code.contains(&address)).then_some(address)
}

/// Puts a number with a space behind it at the beginning; returns what is left.
fn hexadecimal(number: u64, place: &mut [u8]) -> &mut [u8] {
    let digits = (67 - number.leading_zeros()) as usize / 4;
    let digits = digits.max(1);
    let Some((place, rest)) = place.split_at_mut_checked(digits + 3) else { return &mut [] };
    for (at, byte) in place.iter_mut().enumerate() {
        let digit =
            u32::try_from((digits + 1).saturating_sub(at)).ok().and_then(|left| number.checked_shr(4 * left));
        *byte = match (at, digit) {
            (1, _) => b'x',
            (0, _) => b'0',
            (_, Some(digit)) if at < digits + 2 => {
                b"0123456789abcdef".get((digit & 15) as usize).copied().unwrap_or(b'?')
            }
            _ => b' ',
        };
    }
    rest
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers() {
        for (number, expected) in [
            (0, "0x0 "),
            (9, "0x9 "),
            (0xf, "0xf "),
            (0x10, "0x10 "),
            (0x40_1a2c, "0x401a2c "),
            (0x7ffc_0123_4567, "0x7ffc01234567 "),
            (u64::MAX, "0xffffffffffffffff "),
        ] {
            let mut place = [b'.'; 19];
            let left = super::hexadecimal(number, &mut place).len();
            let (written, rest) = place.split_at(19 - left);
            assert_eq!(str::from_utf8(written), Ok(expected));
            assert!(rest.iter().all(|byte| *byte == b'.'), "{number}");
        }
        assert!(super::hexadecimal(0x1234, &mut [0; 6]).is_empty(), "no room");
    }
}
