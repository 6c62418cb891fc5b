//! Durations as Go writes them (`time.ParseDuration`): `300ms`, `1.5h`, `2h45m`.

use std::time::Duration;

/// Reads a duration. A bare number is refused, since distribution would take it as nanoseconds and nobody
/// means those; only `0` needs no unit.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0_f64;
    while !rest.is_empty() {
        let (number, tail) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, tail) = split(tail, |c| !c.is_ascii_digit() && c != '.');
        let number: f64 = number.parse().ok()?;
        seconds += number * seconds_of(unit)?;
        rest = tail;
    }
    // Everything an operator could mean fits; the bound keeps the conversion from failing.
    (!text.is_empty() && seconds < 1e10).then(|| Duration::from_secs_f64(seconds))
}

/// Writes a duration so that [`parse`] reads it again: whole units, the largest first.
pub(crate) fn show(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if rest >= millis {
            text += &format!("{}{unit}", rest / millis);
            rest %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

fn seconds_of(unit: &str) -> Option<f64> {
    match unit {
        "ns" => Some(1e-9),
        "us" | "µs" | "μs" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("10s", Some(10_000)),
            ("168h", Some(604_800_000)),
            ("2h45m", Some(9_900_000)),
            ("1.5h", Some(5_400_000)),
            (".5s", Some(500)),
            ("300ms", Some(300)),
            ("+1m", Some(60_000)),
            ("", None),
            ("60", None),
            ("-1s", None),
            ("1d", None),
            ("s", None),
            ("1.2.3s", None),
            ("10 s", None),
            ("9999999999999999h", None),
        ] {
            assert_eq!(parse(text), millis.map(Duration::from_millis), "{text:?}");
        }
        for millis in [0, 1, 1500, 9_900_000, 604_800_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(&show(duration)), Some(duration), "{}", show(duration));
        }
    }
}
