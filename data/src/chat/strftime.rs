//! `strftime` for chat templates: the directives that date lines use, in English and UTC.

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A moment of UTC, by parts of the civil calendar.
struct Civil {
    year: i64,
    /// 1 to 12.
    month: i64,
    /// 1 to 31.
    day: i64,
    /// 0 is Sunday.
    weekday: i64,
    /// 1 to 366.
    day_of_year: i64,
    second_of_day: i64,
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn civil(unix_seconds: i64) -> Civil {
    let (days, second_of_day) = (unix_seconds.div_euclid(86_400), unix_seconds.rem_euclid(86_400));
    // 400 years of the Gregorian calendar are 146,097 days; within them, whole years and months are counted off.
    let (mut year, mut left) = (1970 + 400 * days.div_euclid(146_097), days.rem_euclid(146_097));
    while left >= 365 + i64::from(is_leap(year)) {
        left -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let day_of_year = left + 1;
    let lengths = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    // 1 January 1970 was a Thursday.
    let weekday = (days + 4).rem_euclid(7);
    Civil { year, month: month as i64 + 1, day: left + 1, weekday, day_of_year, second_of_day }
}

/// Formats a moment as C's `strftime` does in the C locale.
///
/// Knows `%a %A %b %B %d %-d %e %F %H %-H %I %-I %j %m %-m %M %p %S %T %y %Y %Z %%`.
///
/// # Errors
/// The directive that it does not know.
pub(super) fn strftime(unix_seconds: i64, format: &str) -> Result<String, String> {
    let c = civil(unix_seconds);
    let (hour, minute, second) = (c.second_of_day / 3600, c.second_of_day / 60 % 60, c.second_of_day % 60);
    let hour12 = (hour + 11) % 12 + 1;
    let (month_name, day_name) = (MONTHS[c.month as usize - 1], DAYS[c.weekday as usize]);
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(ch) = rest.next() {
        if ch != '%' {
            out.push(ch);
            continue;
        }
        let directive = match rest.next() {
            Some('-') => format!("-{}", rest.next().map(String::from).unwrap_or_default()),
            next => next.map(String::from).unwrap_or_default(),
        };
        out.push_str(&match directive.as_str() {
            "a" => day_name[..3].into(),
            "A" => day_name.into(),
            "b" => month_name[..3].into(),
            "B" => month_name.into(),
            "d" => format!("{:02}", c.day),
            "-d" => c.day.to_string(),
            "e" => format!("{:2}", c.day),
            "F" => format!("{}-{:02}-{:02}", c.year, c.month, c.day),
            "H" => format!("{hour:02}"),
            "-H" => hour.to_string(),
            "I" => format!("{hour12:02}"),
            "-I" => hour12.to_string(),
            "j" => format!("{:03}", c.day_of_year),
            "m" => format!("{:02}", c.month),
            "-m" => c.month.to_string(),
            "M" => format!("{minute:02}"),
            "p" => if hour < 12 { "AM" } else { "PM" }.into(),
            "S" => format!("{second:02}"),
            "T" => format!("{hour:02}:{minute:02}:{second:02}"),
            "y" => format!("{:02}", c.year.rem_euclid(100)),
            "Y" => c.year.to_string(),
            "Z" => "UTC".into(),
            "%" => "%".into(),
            unknown => return Err(format!("%{unknown}")),
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are from `date -u -d @SECONDS +FORMAT`.
    #[test]
    fn agrees_with_date() {
        let all = "%a %A %b %B %d %-d %e %F %H %I %j %m %M %p %S %y %Y %%";
        for (seconds, expect) in [
            (0, "Thu Thursday Jan January 01 1  1 1970-01-01 00 12 001 01 00 AM 00 70 1970 %"),
            (951_827_696, "Tue Tuesday Feb February 29 29 29 2000-02-29 12 12 060 02 34 PM 56 00 2000 %"),
            (1_735_689_599, "Tue Tuesday Dec December 31 31 31 2024-12-31 23 11 366 12 59 PM 59 24 2024 %"),
            (-1, "Wed Wednesday Dec December 31 31 31 1969-12-31 23 11 365 12 59 PM 59 69 1969 %"),
            (4_107_542_400, "Mon Monday Mar March 01 1  1 2100-03-01 00 12 060 03 00 AM 00 00 2100 %"),
        ] {
            assert_eq!(strftime(seconds, all).as_deref(), Ok(expect));
        }
    }

    #[test]
    fn an_unknown_directive_is_named() {
        assert_eq!(strftime(0, "%Y %Q"), Err("%Q".into()));
        assert_eq!(strftime(0, "%"), Err("%".into()));
    }
}
