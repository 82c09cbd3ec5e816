//! Which calls of the supervisor are made to fail, and with what. A call that is not here fails the test, so that whoever adds
//! one thinks about its errors.

/// A system call.
#[derive(Debug)]
pub struct Call {
    pub name: &'static str,
    /// What it may fail with once, or now and then.
    pub once: &'static [&'static str],
    /// What it may fail with from some moment on, for ever.
    pub lasting: &'static [&'static str],
    /// What tinysup does then; or why the call is left alone.
    pub answer: &'static str,
}

const fn call(
    name: &'static str,
    once: &'static [&'static str],
    lasting: &'static [&'static str],
    answer: &'static str,
) -> Call {
    Call { name, once, lasting, answer }
}

/// A call that is left alone.
const fn left(name: &'static str, why: &'static str) -> Call {
    call(name, &[], &[], why)
}

const NEVER: &str = "cannot fail";
const LOADER: &str = "of the loader and the allocator, before the first line of ours";

#[rustfmt::skip]
pub const CALLS: &[Call] = &[
    // What waits and what is read.
    call("poll", &["EINTR", "ENOMEM"], &["ENOMEM"], "looks at everything in turn, every 20 ms"),
    call("nanosleep", &["EINTR"], &[], "looks at once"),
    call("read", &["EINTR", "EAGAIN", "EIO"], &[], "reads again when there is something; an error that stays is an end"),
    call("write", &["EINTR", "EAGAIN", "EIO", "ENOSPC", "EPIPE"], &["EIO", "ENOSPC", "EPIPE"], "goes on; what cannot be written is lost, and the services run"),
    call("signalfd4", &["ENOSYS", "EINVAL", "EMFILE", "ENOMEM"], &["ENOSYS"], "signals come through handlers"),
    call("rt_sigpending", &["EPERM"], &["EPERM"], "a stop from before the start is seen a little later"),
    call("rt_sigtimedwait", &["EAGAIN", "EINTR", "ENOSYS"], &["ENOSYS"], "signals are waited for by poll; one of the terminal for ourselves is passed on"),
    call("rt_sigprocmask", &["EPERM"], &[], "the mask is what it was: blocked"),
    call("rt_sigaction", &["EINVAL"], &[], "told, code 71, if it is one that we cannot do without"),

    // Children.
    call("clone", &["EAGAIN", "ENOMEM"], &["EAGAIN", "ENOMEM"], "a failed start, told with its cause, under the budget"),
    call("waitid", &["EINTR", "ECHILD"], &[], "asks again; at every turn, whether a signal told of a death or not"),
    call("kill", &["EPERM", "ESRCH"], &["EPERM", "ESRCH"], "told; whoever cannot be signalled is not waited for beyond the deadline"),
    call("pidfd_open", &["ENOSYS", "EPERM", "EMFILE", "ESRCH", "ENODEV"], &["ENOSYS", "EPERM", "EMFILE"], "remains are signalled by number"),
    call("pidfd_send_signal", &["ENOSYS", "EPERM", "ESRCH"], &["ENOSYS", "EPERM"], "the same"),
    call("prctl", &["EINVAL", "EPERM"], &["EINVAL"], "what it was for is not had; as PID 1 nothing depends on it"),
    call("prlimit64", &["EPERM", "EINVAL"], &["EPERM"], "limits stay; the second mark of a service is missing"),
    call("fchown", &["EPERM", "EIO"], &["EPERM"], "a service of another user cannot open /dev/stdout again"),

    // Descriptors.
    call("pipe2", &["EMFILE", "ENFILE"], &["EMFILE", "ENFILE"], "a failed start, told with its cause, under the budget"),
    call("fcntl", &["EINVAL", "EMFILE", "EPERM"], &["EPERM"], "a failed start, or what the flag was for is not had; a socket that somebody removes is made again with the next signal only"),
    call("ioctl", &["ENOTTY", "EINVAL", "EIO"], &["EINVAL"], "no terminal; nothing left in a pipe"),
    left("close", "the descriptor is closed whatever it says, which an injected error would prevent"),
    call("dup2", &[], &[], "only in children"),
    call("dup", &["EMFILE"], &["EMFILE"], "as fcntl"),
    call("lseek", &["ESPIPE"], &[], "only a hint of how much there is to read"),

    // Files: configuration, /proc, cgroups, secrets.
    call("openat", &["EINTR", "EMFILE", "ENFILE", "ENOMEM", "EACCES", "ENOENT", "EIO"], &["EMFILE", "EACCES", "ENOENT"], "the configuration: told, code 78; a secret: a failed start; /proc: remains and usage are not seen"),
    call("open", &["EINTR", "EMFILE", "ENFILE", "ENOMEM", "EACCES", "ENOENT", "EIO"], &["EMFILE", "EACCES", "ENOENT"], "as openat"),
    call("stat", &["EACCES", "ENOENT", "ENOMEM"], &["EACCES"], "as openat"),
    call("lstat", &["EACCES", "ENOENT", "ENOMEM"], &["EACCES"], "as openat"),
    call("statx", &["ENOSYS", "EACCES", "ENOENT", "ENOMEM"], &["EACCES", "ENOENT"], "as openat"),
    call("newfstatat", &["EACCES", "ENOENT", "ENOMEM"], &["EACCES"], "as openat"),
    call("fstat", &["ENOMEM"], &["ENOMEM"], "as openat"),
    call("sysinfo", &["EPERM", "ENOSYS"], &["EPERM"], "the machine's memory is not known, and no limit"),
    call("statfs", &["ENOSYS", "EACCES", "EIO"], &["ENOSYS"], "no cgroup is found"),
    call("fstatfs", &["ENOSYS", "EACCES", "EIO"], &["ENOSYS"], "no cgroup is found"),
    call("getdents64", &["EIO", "ENOENT"], &["EIO"], "what is in the folder is not seen"),
    call("readlink", &["EACCES", "ENOENT", "EINVAL"], &["EACCES"], "who it is is not known"),
    call("readlinkat", &["EACCES", "ENOENT", "EINVAL"], &["EACCES"], "who it is is not known"),
    call("faccessat", &["EACCES", "ENOENT"], &["EACCES"], "as openat"),
    call("faccessat2", &["ENOSYS", "EACCES", "ENOENT"], &["EACCES"], "as openat"),
    call("pread64", &["EIO", "EINTR"], &["EIO"], "as read"),
    call("chdir", &["EACCES", "ENOENT"], &["EACCES"], "stays where it was"),
    call("getcwd", &["ENOENT"], &["ENOENT"], "is not shown"),

    // The control socket, the notification sockets, probes.
    call("socket", &["EMFILE", "ENFILE", "ENOMEM", "EACCES", "EAFNOSUPPORT"], &["EMFILE", "EACCES"], "no control socket, told; a failed start where a service needs one; a failed probe"),
    call("socketpair", &["EMFILE", "ENFILE", "ENOMEM"], &["EMFILE"], "a failed start, told with its cause"),
    call("bind", &["EADDRINUSE", "EACCES", "EROFS", "ENOSPC", "ENOMEM"], &["EACCES"], "the next place; without any it is told, and the services run"),
    call("listen", &["EADDRINUSE"], &["EADDRINUSE"], "the same"),
    call("accept4", &["EINTR", "ECONNABORTED", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EAGAIN", "EPERM"], &["EMFILE", "ENOMEM"], "looks again in a second"),
    call("connect", &["ECONNREFUSED", "EAGAIN", "EINTR", "ENETUNREACH", "EACCES", "ENOENT"], &["ECONNREFUSED"], "a failed probe"),
    call("getsockopt", &["ENOBUFS", "ENOPROTOOPT"], &["ENOPROTOOPT"], "a client that cannot be recognised is refused; a failed probe"),
    call("setsockopt", &["ENOBUFS", "ENOPROTOOPT", "EPERM"], &["ENOPROTOOPT"], "a failed start where a service needs to be recognised"),
    call("getpeername", &["ENOTCONN", "ENOBUFS"], &["ENOTCONN"], "whoever it is: asked all the same"),
    call("flock", &["ENOLCK", "EAGAIN"], &["ENOLCK"], "the next place for the notification sockets"),
    call("getsockname", &["ENOBUFS"], &["ENOBUFS"], "is not shown"),
    call("sendto", &["EAGAIN", "EPIPE", "ECONNRESET", "ENOMEM"], &["EPIPE"], "the client is gone; a failed probe"),
    call("recvfrom", &["EAGAIN", "EINTR", "ECONNRESET", "ENOMEM"], &["ECONNRESET"], "the same"),
    call("recvmsg", &["EAGAIN", "EINTR", "ENOMEM"], &[], "heard at the next turn"),
    call("sendmsg", &["EAGAIN", "EPIPE", "ENOMEM"], &["EPIPE"], "the client is gone"),
    call("shutdown", &["ENOTCONN"], &["ENOTCONN"], "closed all the same"),
    call("unlinkat", &["ENOENT", "EACCES", "EROFS", "ENOTEMPTY", "EBUSY"], &["EACCES"], "the file or folder stays"),
    call("renameat", &["EACCES", "ENOENT", "EROFS"], &["EACCES"], "the next place for the socket"),
    call("mkdirat", &["EACCES", "EEXIST", "EROFS", "ENOSPC"], &["EROFS"], "the next place; a failed start if a service cannot speak to us anywhere"),
    call("fchmod", &["EACCES", "EPERM"], &["EPERM"], "the next place"),
    call("umask", &["EPERM"], &["EPERM"], "a socket may have another mode; who may ask does not depend on it"),
    call("chown", &["EPERM", "EROFS"], &["EPERM"], "the next place"),
    call("fchownat", &["EPERM", "EROFS"], &["EPERM"], "the next place"),

    // Memory.
    left("mmap", "an allocation that fails is a test of its own, `without_memory`: strace keeps a process alive that wants to end by a fault"),
    left("brk", "as mmap"),
    left("mremap", "as mmap"),
    left("munmap", "fails only for want of memory to note it; nothing depends on it"),
    left("madvise", "only a hint"),
    left("mprotect", LOADER),
    left("arch_prctl", LOADER),
    left("set_tid_address", LOADER),
    left("set_robust_list", LOADER),
    left("rseq", LOADER),
    call("getrandom", &["ENOSYS", "EAGAIN"], &["ENOSYS"], "the order of a table is less random"),

    // What always works.
    left("getpid", NEVER),
    left("getppid", NEVER),
    left("gettid", NEVER),
    left("getuid", NEVER),
    left("geteuid", NEVER),
    left("getgid", NEVER),
    left("getegid", NEVER),
    left("getresuid", NEVER),
    left("getresgid", NEVER),
    call("getgroups", &["EINVAL"], &["EINVAL"], "a failed start"),
    left("getpgid", NEVER),
    left("getsid", NEVER),
    left("clock_gettime", NEVER),
    left("sched_getaffinity", "only for `instances = \"max\"`"),
    left("restart_syscall", "the kernel's own way to go on with a wait"),
    left("rt_sigreturn", "the kernel's own way back from a handler"),
    left("exit_group", NEVER),
    left("execve", "only in children, where each step that fails is told: tests/pid1/failures.rs"),
];
