//! Durations, sizes, shares of memory and signals: what is read is read back, and is what plain arithmetic makes of it.

use std::time::Duration;

use tinysup::plan::Share;
use tinysup::units::{MAX_DURATION, Signal, parse_duration, parse_size, show_duration};

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(duration) = parse_duration(text) {
        assert!(duration <= MAX_DURATION);
        let micros = duration.as_micros();
        let again = parse_duration(&format!("{}.{:06}s", micros / 1_000_000, micros % 1_000_000));
        assert_eq!(again, Ok(duration), "to the microsecond");
        assert!(!show_duration(duration).to_string().is_empty());
    }
    if let Some(expected) =
        whole(text, &[("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)])
    {
        let expected = Duration::from_micros(expected);
        assert_eq!(parse_duration(text).ok(), (expected <= MAX_DURATION).then_some(expected), "{text}");
    }
    if let Ok(size) = parse_size(text)
        && size < 1 << 53
    {
        assert_eq!(parse_size(&size.to_string()), Ok(size));
    }
    if let Some(expected) = whole(text, &[("K", 1 << 10), ("M", 1 << 20), ("GiB", 1 << 30)]) {
        assert_eq!(parse_size(text), Ok(expected), "{text}");
    }
    if let Some(share) = Share::parse(text) {
        assert_eq!(Share::parse(&share.to_string()), Some(share));
        assert!([0, 1, 9999, 1 << 30, u64::MAX].iter().all(|whole| share.of(*whole) <= *whole));
    }
    if let Some(hundredths) = hundredths(text) {
        let expected = Share::new(hundredths);
        assert_eq!(Share::parse(text), expected, "{text}");
        let parts = expected.map(|share| share.of(1_000_000));
        assert!(parts.is_none_or(|parts| parts == u64::from(hundredths) * 100), "{text}");
    }
    if let Ok(signal) = Signal::parse(text) {
        assert!((1..=64).contains(&signal.number()));
        assert_eq!(Signal::new(signal.number()), Some(signal));
        if signal != Signal::LIBRARY_1 && signal != Signal::LIBRARY_2 {
            assert_eq!(Signal::parse(&signal.to_string()), Ok(signal));
        }
    }
}

/// A percentage with at most two decimals, in hundredths.
fn hundredths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.strip_suffix('%')?.split_once('.')?;
    let digits =
        |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 2 {
        return None;
    }
    Some(whole.parse::<u16>().ok()?.checked_mul(100)? + format!("{decimals:0<2}").parse::<u16>().ok()?)
}

/// A whole number with one of these units, as far as no fraction of a float is lost.
fn whole(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let number: u64 = number.parse().ok().filter(|number| *number < 1 << 20)?;
    Some(number * factor)
}
