//! Until when a certificate is good: the one thing of X.509 that is read here, and only to be shown. Knows as much of DER
//! as that takes. Invariant: what it cannot read is no certificate of ours to judge; it says nothing of it.

use jiff::civil::DateTime;

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, which the first one leaves out.
const VERSION: u8 = 0xa0;

/// The second since 1970 after which it is expired.
pub(super) fn not_after_s(certificate: &[u8]) -> Option<u64> {
    let (_, certificate, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, fields, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (tag, _, after) = element(fields)?;
    let fields = if tag == VERSION { after } else { fields };
    // Serial number, algorithm, issuer, validity.
    let fields = [INTEGER, SEQUENCE, SEQUENCE].iter().try_fold(fields, |fields, wanted| {
        element(fields).filter(|(tag, ..)| tag == wanted).map(|(.., rest)| rest)
    })?;
    let (_, validity, _) = element(fields).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (.., until) = element(validity)?;
    let (tag, text, _) = element(until)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// The first element: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            if digits.is_empty() || digits.len() > 4 {
                return None;
            }
            (digits.iter().fold(0, |all, digit| all << 8 | usize::from(*digit)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

fn time(tag: u8, text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z')?;
    let full = match tag {
        // Two digits of the year, of this century up to 49.
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", full).ok()?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    u64::try_from(time.timestamp().as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(until: (i32, u8, u8)) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("valid");
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let key = rcgen::KeyPair::generate().expect("made");
        params.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_forms_of_time() {
        assert_eq!(not_after_s(&made((2031, 2, 3))), Some(1_927_843_200));
        assert_eq!(not_after_s(&made((2049, 12, 31))), Some(2_524_521_600));
        assert_eq!(not_after_s(&made((2050, 1, 1))), Some(2_524_608_000), "in four digits");
        assert_eq!(time(UTC_TIME, "991231235959Z"), Some(946_684_799), "of the last century");
    }

    #[test]
    fn what_is_none_is_not_read() {
        let sound = made((2031, 2, 3));
        for end in 0..sound.len() {
            assert_eq!(not_after_s(&sound[..end]), None, "{end}");
        }
        assert_eq!(not_after_s(b"\x30\x84\xff\xff\xff\xff"), None);
        assert_eq!(time(UTC_TIME, "9912é"), None);
        assert_eq!(time(GENERALIZED_TIME, "20311301000000Z"), None, "a thirteenth month");
    }
}
