//! Durations, sizes and signals: what is read is read back, and is what plain arithmetic makes of it.

use std::time::Duration;

use tinysup::units::{MAX_DURATION, Signal, parse_duration, parse_size, show_duration};

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(duration) = parse_duration(text) {
        assert!(duration <= MAX_DURATION);
        let micros = duration.as_micros();
        let again = parse_duration(&format!("{}.{:06}s", micros / 1_000_000, micros % 1_000_000));
        assert_eq!(again, Ok(duration), "to the microsecond");
        assert!(!show_duration(duration).is_empty());
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
    if let Ok(signal) = Signal::parse(text) {
        assert!((1..=64).contains(&signal.number()));
        assert_eq!(Signal::new(signal.number()), Some(signal));
        if signal != Signal::LIBRARY_1 && signal != Signal::LIBRARY_2 {
            assert_eq!(Signal::parse(&signal.to_string()), Ok(signal));
        }
    }
}

/// A whole number with one of these units, as far as no fraction of a float is lost.
fn whole(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let number: u64 = number.parse().ok().filter(|number| *number < 1 << 20)?;
    Some(number * factor)
}
