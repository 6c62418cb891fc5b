//! `startedat`: when an upload began.
//!
//! Knows RFC 3339 as Go writes it for UTC (`2006-01-02T15:04:05Z07:00`). Does
//! not know the clock.

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

const SECONDS_A_DAY: u64 = 86_400;

/// As distribution writes it: in seconds, with a `Z`.
pub(super) fn format(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, seconds) = (since / SECONDS_A_DAY, since % SECONDS_A_DAY);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// What distribution wrote; `None` for anything else. Fractions of a second are passed over.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let (date, time) = text.trim().split_once('T')?;
    let (time, offset) = split_offset(time)?;
    let mut date = date.splitn(3, '-').map(str::parse::<u64>);
    let mut time = time.split('.').next()?.splitn(3, ':').map(str::parse::<u64>);
    let mut next_date = || date.next()?.ok();
    let (year, month, day) = (next_date()?, next_date()?, next_date()?);
    let mut next_time = || time.next()?.ok();
    let (hour, minute, second) = (next_time()?, next_time()?, next_time()?);
    let in_range = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let local = days(year, month, day) * SECONDS_A_DAY + hour * 3600 + minute * 60 + second;
    let utc = local.checked_add_signed(-offset)?;
    in_range.then(|| UNIX_EPOCH + Duration::from_secs(utc))
}

/// The time of day, and how many seconds it is ahead of UTC.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let (at, sign) = time.char_indices().find_map(|(at, c)| match c {
        '+' => Some((at, 1)),
        '-' => Some((at, -1)),
        _ => None,
    })?;
    let (hours, minutes) = time.get(at + 1..)?.split_once(':')?;
    let minutes = hours.parse::<i64>().ok()?.checked_mul(60)?.checked_add(minutes.parse().ok()?)?;
    (minutes < 24 * 60).then_some((time.get(..at)?, sign * minutes * 60))
}

/// Year, month and day of a count of days since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil`], for years from 1970 on.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year.saturating_sub(u64::from(month <= 2));
    let month_from_march = (month + 9) % 12;
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month_from_march + 2) / 5 + day.saturating_sub(1);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_go() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-22T13:42:23Z", 1_795_354_943),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(format(time), text);
            assert_eq!(parse(text), Some(time), "{text}");
        }
    }

    #[test]
    fn every_day_comes_back() {
        for day in 0..60_000 {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), day);
        }
    }

    #[test]
    fn offsets_are_understood_and_nonsense_is_not() {
        let noon = parse("2026-11-22T12:00:00Z");
        assert!(noon.is_some());
        assert_eq!(parse("2026-11-22T14:00:00+02:00"), noon);
        assert_eq!(parse("2026-11-22T06:30:00.123456789-05:30\n"), noon);
        for text in [
            "",
            "T",
            "2026-11-22",
            "2026-13-22T12:00:00Z",
            "2026-11-22T12:00:00",
            "\0\0\0\0",
            "2026-11-22T12:00Z",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
