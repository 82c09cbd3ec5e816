//! Durations, sizes, signals, resource limits, capabilities and the system's words: how they are written, read and shown.
//! Pure; every parser is total and bounded.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::fmt::Write as _;
use std::time::Duration;
use std::{fmt, io};

use crate::gather::word;

/// The longest duration a configuration may ask for: ten years, far from every overflow.
pub const MAX_DURATION: Duration = Duration::from_hours(87600);

/// A signal number in 1..=64 (signal(7)). Real-time signals have names too: `SIGRTMIN` is 34 as glibc and systemd count,
/// whatever the C library this program is built with keeps for itself (musl starts at 35).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

const NAMES: &str = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP \
    TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";

impl Signal {
    /// Hang-up of the terminal; daemons re-read their configuration on it.
    pub const HUP: Self = Self(1);
    /// Ctrl-C.
    pub const INT: Self = Self(2);
    /// Ctrl-\.
    pub const QUIT: Self = Self(3);
    /// Abort.
    pub const ABRT: Self = Self(6);
    /// Ends a process that cannot refuse.
    pub const KILL: Self = Self(9);
    /// User-defined 1.
    pub const USR1: Self = Self(10);
    /// Invalid memory reference.
    pub const SEGV: Self = Self(11);
    /// User-defined 2.
    pub const USR2: Self = Self(12);
    /// Write to a pipe without readers.
    pub const PIPE: Self = Self(13);
    /// The polite request to end.
    pub const TERM: Self = Self(15);
    /// A child changed its state.
    pub const CHLD: Self = Self(17);
    /// Continue after a stop.
    pub const CONT: Self = Self(18);
    /// Stops a process that cannot refuse.
    pub const STOP: Self = Self(19);
    /// Ctrl-Z.
    pub const TSTP: Self = Self(20);
    /// Terminal input for a background process.
    pub const TTIN: Self = Self(21);
    /// Terminal output of a background process.
    pub const TTOU: Self = Self(22);
    /// The terminal's size changed.
    pub const WINCH: Self = Self(28);
    /// A system call that seccomp(2) forbids.
    pub const SYS: Self = Self(31);
    const CLASSIC_MAX: u8 = 31;
    /// 32, which C libraries keep for their threads.
    pub const LIBRARY_1: Self = Self(32);
    /// 33, which C libraries keep for their threads.
    pub const LIBRARY_2: Self = Self(33);
    /// `SIGRTMIN+3`: what podman and systemd images use for an ordered stop.
    pub const RTMIN_3: Self = Self(RTMIN + 3);

    /// The signal with this number, if there is one (1..=64).
    pub fn new(number: i32) -> Option<Self> {
        u8::try_from(number).ok().filter(|n| (1..=RTMAX).contains(n)).map(Self)
    }

    /// The number the kernel knows it by.
    pub fn number(self) -> i32 {
        i32::from(self.0)
    }

    /// Whether it is queued once for each time it is sent.
    pub fn is_real_time(self) -> bool {
        self.0 > Self::CLASSIC_MAX
    }

    /// All signals there are, 1 to 64.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=RTMAX).map(Self)
    }

    /// Reads `SIGTERM`, `TERM`, `term`, `15`, `RTMIN+3` or `SIGRTMAX-1`.
    ///
    /// # Errors
    /// A sentence that says what was expected, with the nearest name if there is one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unknown =
            || format!("\"{text}\" is not a signal; write a name such as SIGTERM or a number from 1 to 64");
        if let Some(number) = parse_signed(text) {
            return Self::new(number).ok_or_else(unknown);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(at) = NAMES.split(' ').position(|known| known == name) {
            return u8::try_from(at + 1).map(Self).map_err(|_| unknown());
        }
        let real_time = |base: u8, offset: &str, sign: i32| {
            // Digits alone, and few: a second sign is none, and no sum is too large.
            let digits = offset.get(1..).unwrap_or("0");
            let offset: u8 =
                parse_number(digits).filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
            let number = i32::from(base) + sign * i32::from(offset);
            Self::new(number).filter(|signal| signal.0 >= RTMIN)
        };
        let found = match name {
            "IOT" => Some(Self::ABRT),
            "CLD" => Some(Self::CHLD),
            "POLL" => Some(Self(29)),
            _ => match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
                (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => real_time(RTMIN, rest, 1),
                (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => real_time(RTMAX, rest, -1),
                _ => None,
            },
        };
        found.ok_or_else(unknown)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match word(NAMES, usize::from(self.0) - 1) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 == RTMIN => f.write_str("SIGRTMIN"),
            None if self.0 > RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "signal {}", self.0), // 32 and 33, which C libraries use for their threads
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads `250ms`, `10s`, `5m`, `1h`, `1.5s`, `2m30s`, or a bare number of seconds.
///
/// # Errors
/// A sentence that says what was expected; negative, empty or more than [`MAX_DURATION`] are errors too.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("\"{text}\" is not a duration; write for example \"250ms\", \"10s\", \"5m\" or \"1h\"");
    let too_long = || format!("\"{text}\" is longer than ten years");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0.0_f64;
    let mut previous_unit = f64::INFINITY;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let number = parse_decimal(number).ok_or_else(wrong)?;
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "" if previous_unit.is_infinite() && tail.is_empty() => 1.0,
            _ => return Err(wrong()),
        };
        if unit >= previous_unit {
            return Err(wrong());
        }
        previous_unit = unit;
        total += number * unit;
        rest = tail;
    }
    seconds(total).ok_or_else(too_long)
}

/// Reads a number such as `12`, `-1.5`, `.5` or `2e3`; exactly, where it has no more than fifteen digits, and as near as a person
/// could tell where it has more. What the standard library has for this is exact with any digits, and brings 15 kB of code and tables.
pub fn parse_decimal(text: &str) -> Option<f64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, parse_signed(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (given, fraction) = (!digits.is_empty() && digits != ".", fraction.trim_end_matches('0'));
    if !given {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        value = value * 10.0 + f64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    if value == 0.0 {
        return Some(sign * 0.0); // before powers that are no numbers any more
    }
    let places = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10_f64.powi(places.checked_abs()?);
    Some(sign * if places < 0 { value / power } else { value * power })
}

/// A number as short as it can be told, to six places: `2`, `1.5`.
pub fn show_decimal(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is negative or too large is told as the nearest that is not"
    )]
    let millionths = (value * 1e6).round() as u64;
    let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A duration of that many seconds, to the microsecond; `None` where it is negative, not a number or over [`MAX_DURATION`].
pub fn seconds(value: f64) -> Option<Duration> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what does not fit is not taken"
    )]
    let duration = Duration::from_micros((value * 1e6).round() as u64);
    (value >= 0.0 && duration <= MAX_DURATION).then_some(duration)
}

/// What is told as people say it. It is written where it stands in a text; there is no text of it alone.
#[derive(Clone, Copy, Debug)]
pub struct Shown<T>(T);

/// A duration as people say it: `0.3 s`, `4 s`, `12 s`, `2 m 14 s`, `3 h 5 m`; tenths below ten seconds.
pub const fn show_duration(duration: Duration) -> Shown<Duration> {
    Shown(duration)
}

impl fmt::Display for Shown<Duration> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX - 500);
        let tenths = (millis + 50) / 100;
        let whole = (millis + 500) / 1000;
        match whole {
            _ if tenths < 100 && !tenths.is_multiple_of(10) => write!(f, "{}.{} s", tenths / 10, tenths % 10),
            _ if tenths < 100 && tenths == 0 => f.write_str("0.0 s"),
            0..=119 => write!(f, "{whole} s"),
            120..=7199 if whole.is_multiple_of(60) => write!(f, "{} m", whole / 60),
            120..=7199 => write!(f, "{} m {} s", whole / 60, whole % 60),
            _ => write!(f, "{} h {} m", whole / 3600, whole % 3600 / 60),
        }
    }
}

/// Reads a size in bytes: `300M`, `1.5G`, `64KiB`, `512`. Units are binary, as with Docker and PM2.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is not a size; write for example \"64K\", \"300M\" or \"1.5G\"");
    let text_trimmed = text.trim();
    let digits = text_trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text_trimmed.len());
    let (number, unit) = text_trimmed.split_at(digits);
    let number = parse_decimal(number).ok_or_else(wrong)?;
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 1.0,
        "k" => 1024.0,
        "m" => 1_048_576.0,
        "g" => 1_073_741_824.0,
        "t" => 1_099_511_627_776.0,
        _ => return Err(wrong()),
    };
    let bytes = (number * factor).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 9e18 fits")]
    if (0.0..9e18).contains(&bytes) { Ok(bytes as u64) } else { Err(format!("\"{text}\" is too large")) }
}

/// An amount of memory as short as it can be told, in binary units: `512K`, `9.8M`, `58M`, `1.2G`.
pub const fn show_size(bytes: u64) -> Shown<u64> {
    Shown(bytes)
}

impl fmt::Display for Shown<u64> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let mut unit = 1_u64;
        for name in ["", "K", "M", "G", "T"] {
            // In two steps, as ten times the most there can be is too much.
            let rest = (bytes % unit * 10 + unit / 2) / unit;
            let tenths = (bytes / unit).saturating_mul(10).saturating_add(rest);
            if tenths < 100 && !tenths.is_multiple_of(10) {
                return write!(f, "{}.{}{name}", tenths / 10, tenths % 10);
            }
            if tenths < 10_235 {
                return write!(f, "{}{name}", (tenths + 5) / 10);
            }
            unit <<= 10;
        }
        write!(f, "{}P", bytes / unit)
    }
}

/// Reads a whole number, where there is nothing else and it fits.
pub fn parse_number<T: TryFrom<u64>>(text: &str) -> Option<T> {
    T::try_from(parse_whole(text)?).ok()
}

/// As `parse_number`, and with a sign.
#[inline(never)]
pub fn parse_signed(text: &str) -> Option<i32> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let negative = digits.len() < text.len();
    if negative && digits.starts_with('+') {
        return None;
    }
    let number: i64 = parse_number(digits)?;
    i32::try_from(if negative { -number } else { number }).ok()
}

/// Not inlined: what the kernel tells is full of numbers, and to read one is some code.
#[inline(never)]
fn parse_whole(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// There is nothing of that name (errno(3)).
pub const ENOENT: i32 = 2;

/// It is a directory.
pub const EISDIR: i32 = 21;

/// Whether the system said one of these. `io::Error::kind` knows all that it can say, and is 1.5 kB for that.
#[inline(never)]
pub fn is(error: &io::Error, numbers: &[i32]) -> bool {
    error.raw_os_error().is_some_and(|number| numbers.contains(&number))
}

/// An address and a port, as the standard library shows them.
pub fn show_address(address: &SocketAddr) -> String {
    let (ip, port) = (show_ip(address.ip()), address.port());
    if address.is_ipv6() { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// An address as the standard library shows it (RFC 5952), which has five times the code for it, to fill columns too.
#[inline(never)]
fn show_ip(address: IpAddr) -> String {
    let v6 = match address {
        IpAddr::V4(v4) => return show_v4("", v4),
        IpAddr::V6(v6) => v6,
    };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return show_v4("::ffff:", v4);
    }
    let groups = v6.segments();
    // The first of the longest runs of zeros, if it is more than one.
    let (mut start, mut length) = (groups.len(), 1);
    for from in 0..groups.len() {
        let zeros = groups.iter().skip(from).take_while(|group| **group == 0).count();
        if zeros > length {
            (start, length) = (from, zeros);
        }
    }
    let mut text = String::new();
    for (at, group) in groups.into_iter().enumerate() {
        if at == start {
            text += "::";
        }
        if at < start || at >= start + length {
            let colon = if at == 0 || text.ends_with(':') { "" } else { ":" };
            let _ = write!(text, "{colon}{group:x}"); // into a text, which takes all
        }
    }
    text
}

fn show_v4(before: &str, address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{before}{a}.{b}.{c}.{d}")
}

/// Resource limits in the order of their numbers (setrlimit(2)), as all machines but MIPS, SPARC and Alpha have them.
pub const RESOURCES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

/// Capabilities in the order of their numbers (capabilities(7)).
#[rustfmt::skip]
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
    "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
    "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_look_as_the_standard_library_has_them() {
        for text in [
            "127.0.0.1:80",
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "[::]:1",
            "[::1]:80",
            "[1::]:80",
            "[2001:db8::1:0:0:1]:443",
            "[2001:db8:0:1:1:1:1:1]:443",
            "[1:0:0:2::3]:443",
            "[1:2:3:4:5:6:7:8]:443",
            "[0:1:2:3:4:5:6:0]:443",
            "[1::2:0:0:3:4]:443",
            "[::ffff:10.0.0.1]:443",
            "[::102:304]:443",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(show_address(&address), address.to_string(), "{text}");
        }
    }

    #[test]
    fn signals_are_read_by_every_name_people_use() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("TERM", 15),
            ("term", 15),
            ("15", 15),
            ("SIGRTMIN+3", 37),
            ("RTMIN", 34),
            ("RTMAX", 64),
            ("SIGRTMAX-1", 63),
            ("IOT", 6),
            ("SIGCLD", 17),
            ("64", 64),
            ("SIGIO", 29),
            ("POLL", 29),
            ("PWR", 30),
        ] {
            assert_eq!(Signal::parse(text).map(Signal::number), Ok(number), "{text}");
        }
        for text in [
            "",
            "SIG",
            "0",
            "65",
            "-1",
            "SIGFOO",
            "RTMIN+31",
            "RTMAX-31",
            "RTMIN+",
            "RTMIN3",
            "15x",
            "RTMIN+-2",
            "RTMIN++2",
            "RTMIN+2147483647",
            "RTMAX--2147483648",
        ] {
            assert!(Signal::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_signal_is_read_back_from_its_name() {
        for signal in Signal::all().filter(|s| !matches!(s.number(), 32 | 33)) {
            assert_eq!(Signal::parse(&signal.to_string()), Ok(signal));
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("3", 3_000),
            ("1.5s", 1_500),
            ("2m30s", 150_000),
            ("0", 0),
            ("0.1", 100),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "s", "-1s", "1x", "1s2m", "5 5", "1e9", "999999999999h", ".", "1.2.3", "nan", "inf", "3 3s"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_shown_as_people_say_them() {
        for (millis, shown) in [
            (0, "0.0 s"),
            (31, "0.0 s"),
            (310, "0.3 s"),
            (1_000, "1 s"),
            (9_940, "9.9 s"),
            (9_960, "10 s"),
            (59_600, "60 s"),
            (134_000, "2 m 14 s"),
            (7_200_000, "2 h 0 m"),
        ] {
            assert_eq!(show_duration(Duration::from_millis(millis)).to_string(), shown);
        }
    }

    #[test]
    fn decimals_are_read_as_the_standard_library_does() {
        let zeros = "0".repeat(400);
        let long = format!("1.{zeros}");
        for text in [
            "0", "12", "-1.5", "+3", ".5", "5.", "-.25", "2e3", "2E-3", "1.50", "007", "0e400", "0.0e-400",
            &zeros, &long, "", ".", "-", "+", "e3", "1e", "1.x0", "1.0x", "1 ", " 1", "--1", "1..2", "1.2.3",
            "0x10", "1e2.5",
        ] {
            let read = parse_decimal(text);
            assert_eq!(read, text.parse::<f64>().ok(), "{text:?}");
        }
        // Words that it knows are no numbers for us.
        for text in ["inf", "nan", "infinity", "-inf"] {
            assert_eq!(parse_decimal(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in
            [("300M", 314_572_800), ("64KiB", 65_536), ("1.5g", 1_610_612_736), ("512", 512), ("1 kb", 1024)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1G", "1e30", "80%", "99999999999T"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
