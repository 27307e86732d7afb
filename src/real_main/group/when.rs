//! Times and durations of the command line, in ISO 8601 (jiff).

use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp as Instant};
use ottla::types::Timestamp;

use crate::real_main::failure::{Exit, Failure};

/// A time, as in 2026-01-31T12:00:00.000+01:00; without an offset it is in UTC (Kafka: `Utils.getDateTime`).
///
/// Errors: it is none, or before 1970: to a broker a negative time is a place in the log.
pub(super) fn time(text: &str) -> Result<Timestamp, Failure> {
    let refused = |why: String| {
        Failure::new(Exit::Usage, format!("`{text}` is no time"))
            .place("--to-datetime")
            .why(why)
            .next(
                "2026-01-31T12:00:00.000 in UTC, or with an offset, 2026-01-31T12:00:00.000+01:00",
            )
    };
    let with_offset = Instant::from_str(text);
    let in_utc = || DateTime::from_str(text).and_then(|time| time.to_zoned(TimeZone::UTC));
    let instant = with_offset.or_else(|_| in_utc().map(|zoned| zoned.timestamp()));
    let instant = instant.map_err(|error| refused(error.to_string()))?;
    after_1970(instant.as_millisecond()).ok_or_else(|| refused("it is before 1970".to_owned()))
}

/// The time so long before `now`, as in P1DT2H30M; a day has 24 hours (Kafka: `Duration.parse`).
///
/// Errors: it is no duration, or longer ago than 1970.
pub(super) fn ago(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let refused = |why: String| {
        Failure::new(Exit::Usage, format!("`{text}` is no duration"))
            .place("--by-duration")
            .why(why)
            .next("PT1H30M for an hour and a half, P7D for seven days")
    };
    let span = Span::from_str(text).map_err(|error| refused(error.to_string()))?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let millis = duration.map_err(|error| refused(error.to_string()))?.as_millis();
    let then = i64::try_from(i128::from(now.millis()) - millis).ok().and_then(after_1970);
    then.ok_or_else(|| refused("that is before 1970".to_owned()))
}

fn after_1970(millis: i64) -> Option<Timestamp> {
    (millis >= 0).then(|| Timestamp::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc_or_carry_an_offset() {
        let millis = |text: &str| time(text).unwrap().millis();
        assert_eq!(millis("2020-11-10T16:51:38.198"), 1_605_027_098_198);
        assert_eq!(millis("2020-11-10T16:51:38.198Z"), 1_605_027_098_198);
        for text in ["+0800", "+08", "+08:00"].map(|at| format!("2020-11-10T16:51:38.198{at}")) {
            assert_eq!(millis(&text), 1_605_027_098_198 - 8 * 3_600_000, "{text}");
        }
        for (text, why) in
            [("yesterday", ""), ("2020-13-01T00:00:00", ""), ("1969-12-31T23:59:59", "1970")]
        {
            let refused = time(text).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{text}` is no time")), "{refused}");
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn durations_go_back_from_now_and_negative_ones_forward() {
        let now = Timestamp::from_millis(1_000_000_000);
        let back = |text: &str| now.millis() - ago(text, now).unwrap().millis();
        assert_eq!(back("PT1H30M"), 5_400_000);
        assert_eq!(back("P1DT0.5S"), 86_400_500);
        assert_eq!(back("-PT1S"), -1_000);
        for text in ["P1M", "P1Y", "an hour", "P400000D"] {
            let refused = ago(text, now).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{text}` is no duration")), "{refused}");
        }
    }
}
