//! A database's URL as PostgreSQL's own programs take it.

/// A URL without its password, which arguments would show to every user of the machine, and
/// without what only this program understands; and the password.
pub(super) fn split(url: &str) -> (String, Option<String>) {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let mut password = None;
    let mut parameters = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("statement-cache-capacity", _)) => {}
            Some(("password", value)) => password = Some(decoded(value)),
            _ => parameters.push(parameter),
        }
    }
    let mut place = place.to_owned();
    if let Some((scheme, rest)) = place.split_once("://") {
        let end = rest.find('/').unwrap_or(rest.len());
        if let Some((user, host)) = rest[..end].rsplit_once('@')
            && let Some((user, word)) = user.split_once(':')
        {
            password = Some(decoded(word));
            place = format!("{scheme}://{user}@{host}{}", &rest[end..]);
        }
    }
    if !parameters.is_empty() {
        place = format!("{place}?{}", parameters.join("&"));
    }
    (place, password)
}

/// Undoes the percent signs of a URL.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = byte.filter(|_| first == b'%') {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_no_part_of_an_argument() {
        let check = |url: &str, place: &str, password: Option<&str>| {
            assert_eq!(split(url), (place.to_owned(), password.map(str::to_owned)), "{url}");
        };
        check("postgres://u:p%40s%2F@h:5/d?a=1", "postgres://u@h:5/d?a=1", Some("p@s/"));
        check("postgres://u@h/d?password=x%25&a=1", "postgres://u@h/d?a=1", Some("x%"));
        check("postgres://h?statement-cache-capacity=9", "postgres://h", None);
        check("postgres://u@localhost:5/d?host=/s", "postgres://u@localhost:5/d?host=/s", None);
        check("postgres:///d", "postgres:///d", None);
    }
}
