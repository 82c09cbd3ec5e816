//! Memory in little code. A piece is one of forty sizes, four to each doubling, and is handed out again when it came back, in parts where
//! a smaller one is wanted; what is larger is the kernel's to give and to take. What a piece holds is known from its `Layout`, so nothing
//! stands beside it.
//!
//! The C library's own would be ten times this, and is not linked where the program is static: it is given these pieces too.
//! Where there is none, a supervising tinysup ends as it does when it is broken, instead of by the abort of Rust's own answer, which
//! would let the kernel kill everybody without a word.
//!
//! Part of the program, never of the library.

#![expect(unsafe_code, reason = "an allocator")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

#[global_allocator]
static MEMORY: Memory = Memory {
    taken: AtomicBool::new(false),
    pieces: UnsafeCell::new(Pieces { free: [null_mut(); SIZES], there: 0, rest: null_mut(), left: 0 }),
};

/// Every piece is a multiple of it, and lies at one.
const UNIT_BYTES: usize = 16;

/// The largest piece.
const PIECE_MAX_BYTES: usize = 32 << 10;

/// Where pages lie, at least.
const PAGE_BYTES: usize = 4096;

/// Four to each doubling, up to `PIECE_MAX_BYTES`.
const SIZES: usize = 40;

/// What is taken from the kernel at once. What is not written to takes no memory.
const CHUNK_BYTES: usize = 256 << 10;

struct Memory {
    /// Somebody is at the pieces. The program has one thread, so nobody ever waits; tests have more.
    taken: AtomicBool,
    pieces: UnsafeCell<Pieces>,
}

// SAFETY: only who has set `taken` touches the pieces.
unsafe impl Sync for Memory {}

/// What a piece holds that came back: which of its size came back before.
#[derive(Clone, Copy)]
struct Piece(*mut Self);

struct Pieces {
    /// The last one that came back, by size.
    free: [*mut Piece; SIZES],
    /// Of which sizes there is one, a bit each.
    there: u64,
    /// What is left of the last chunk.
    rest: *mut Piece,
    left: usize,
}

// SAFETY: a piece is as large as its size says, lies at a multiple of 16, and is with one owner or in one list. What needs more of
// either is pages of its own.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let memory = match size(layout) {
            Some(size) => self.with(|pieces| pieces.take(size)),
            None if layout.align() <= PAGE_BYTES => map(layout.size()),
            None => null_mut(), // nobody asks for it
        };
        if memory.is_null() {
            tinysup::sys::end_without_memory();
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on; a piece is as large as asked for. Pages come with zeros.
        unsafe {
            let memory = self.alloc(layout);
            if !memory.is_null() && size(layout).is_some() {
                memory.write_bytes(0, layout.size());
            }
            memory
        }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller promises that it is one.
        let new = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        if size(layout).is_some_and(|old| Some(old) == size(new)) {
            return old;
        }
        // SAFETY: the caller's promises are passed on; both are as large as what is copied.
        unsafe {
            let memory = self.alloc(new);
            if !memory.is_null() {
                memory.copy_from_nonoverlapping(old, bytes.min(layout.size()));
                self.dealloc(old, layout);
            }
            memory
        }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        match size(layout) {
            Some(size) => self.with(|pieces| pieces.put_back(old.cast(), size)),
            // SAFETY: they were mapped for it, and the caller does not use them any more.
            None => drop(unsafe { libc::munmap(old.cast(), layout.size()) }),
        }
    }
}

impl Memory {
    fn with<T>(&self, act: impl FnOnce(&mut Pieces) -> T) -> T {
        while self.taken.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        // SAFETY: `taken` is ours until it is given back below.
        let result = act(unsafe { &mut *self.pieces.get() });
        self.taken.store(false, Ordering::Release);
        result
    }
}

/// The number of the least size that is enough. None for what is no piece.
fn size(layout: Layout) -> Option<usize> {
    if layout.size() > PIECE_MAX_BYTES || layout.align() > UNIT_BYTES {
        return None;
    }
    Some(enough_for(layout.size()))
}

/// The number of the least size that is enough.
fn enough_for(bytes: usize) -> usize {
    let last = bytes.saturating_sub(1) / UNIT_BYTES;
    let doublings = (last | 4).ilog2() - 2;
    4 * doublings as usize + (last >> doublings)
}

/// How much a piece of this size holds.
fn bytes(size: usize) -> usize {
    let doublings = (size / 4).saturating_sub(1);
    ((size - 4 * doublings + 1) * UNIT_BYTES) << doublings
}

impl Pieces {
    /// Null where the kernel has none.
    fn take(&mut self, size: usize) -> *mut u8 {
        let wanted = bytes(size);
        // One that came back; of a larger one the rest is put back in its turn.
        let least = (self.there & u64::MAX << size).trailing_zeros() as usize;
        if let Some(free) = self.free.get_mut(least) {
            let piece = *free;
            // SAFETY: it came back and is nobody's; `put_back` wrote this.
            *free = unsafe { piece.read() }.0;
            if free.is_null() {
                self.there &= !(1 << least);
            }
            // SAFETY: it is so large.
            self.put_back_all(unsafe { piece.byte_add(wanted) }, bytes(least) - wanted);
            return piece.cast();
        }
        if self.left < wanted {
            self.put_back_all(self.rest, self.left);
            self.left = 0;
            // Near a limit there may still be so much.
            for bytes in [CHUNK_BYTES, PIECE_MAX_BYTES] {
                self.rest = map(bytes).cast();
                if !self.rest.is_null() {
                    self.left = bytes;
                    break;
                }
            }
        }
        let piece = self.rest;
        if piece.is_null() {
            return piece.cast();
        }
        self.left -= wanted;
        // SAFETY: so much was left of the chunk.
        self.rest = unsafe { piece.byte_add(wanted) };
        piece.cast()
    }

    fn put_back(&mut self, piece: *mut Piece, size: usize) {
        if let Some(free) = self.free.get_mut(size) {
            // SAFETY: it is nobody's any more, and has room and alignment for a pointer.
            unsafe { piece.write(Piece(*free)) };
            *free = piece;
            self.there |= 1 << size;
        }
    }

    /// As the largest pieces that there can be of it.
    fn put_back_all(&mut self, mut rest: *mut Piece, mut left: usize) {
        while left > 0 {
            let enough = enough_for(left.min(PIECE_MAX_BYTES));
            let size = if bytes(enough) > left { enough - 1 } else { enough };
            self.put_back(rest, size);
            left -= bytes(size);
            // SAFETY: there was as much.
            rest = unsafe { rest.byte_add(bytes(size)) };
        }
    }
}

/// Whole pages of zeros; null where the kernel has none.
fn map(bytes: usize) -> *mut u8 {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new memory, where there is none yet.
    let memory = unsafe { libc::mmap(null_mut(), bytes, access, kind, -1, 0) };
    if memory == libc::MAP_FAILED { null_mut() } else { memory.cast() }
}

/// What the C library asks for, to read a directory; its promise to those who bring their own is to ask for nothing else. It does not
/// say how much it gives back, so that stands before.
#[cfg(all(target_env = "musl", target_feature = "crt-static"))]
mod for_c {
    use super::{GlobalAlloc, Layout, MEMORY, UNIT_BYTES};
    use std::ptr::null_mut;

    fn layout(bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes.checked_add(UNIT_BYTES)?, UNIT_BYTES).ok()
    }

    // SAFETY: of these five names: the C library calls them, and has others only where nobody defines them.
    #[unsafe(no_mangle)]
    extern "C" fn malloc(bytes: usize) -> *mut u8 {
        calloc(bytes, 1)
    }

    #[unsafe(no_mangle)]
    extern "C" fn calloc(count: usize, each: usize) -> *mut u8 {
        let Some(bytes) = count.checked_mul(each) else { return null_mut() };
        let Some(whole) = layout(bytes) else { return null_mut() };
        // SAFETY: more than nothing; what stands before is ours.
        unsafe {
            let memory = MEMORY.alloc_zeroed(whole);
            if memory.is_null() {
                return memory;
            }
            memory.cast::<usize>().write(bytes);
            memory.add(UNIT_BYTES)
        }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn free(memory: *mut u8) {
        if memory.is_null() {
            return;
        }
        // SAFETY: `calloc` has given it out, and written what stands before it.
        unsafe {
            let whole = memory.sub(UNIT_BYTES);
            if let Some(layout) = layout(whole.cast::<usize>().read()) {
                MEMORY.dealloc(whole, layout);
            }
        }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn realloc(old: *mut u8, bytes: usize) -> *mut u8 {
        let new = malloc(bytes);
        if !old.is_null() && !new.is_null() {
            // SAFETY: as above; both are as large as what is copied.
            unsafe {
                let before = old.sub(UNIT_BYTES).cast::<usize>().read();
                new.copy_from_nonoverlapping(old, before.min(bytes));
                free(old);
            }
        }
        new
    }

    #[unsafe(no_mangle)]
    extern "C" fn aligned_alloc(_alignment: usize, _bytes: usize) -> *mut u8 {
        // SAFETY: the C library's own place for it, of this thread. posix_memalign(3) answers with it.
        unsafe { *libc::__errno_location() = libc::ENOMEM };
        null_mut()
    }
}
