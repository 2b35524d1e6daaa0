//! The title of a task: what its prompt says first.

/// Characters of a title.
const MOST: usize = 120;

/// The first line that says something, cut; `None` where no line does. What is cut off may end a secret in its
/// middle, so that a title which leaves the machine is made from a prompt without secrets.
pub fn title(prompt: &str) -> Option<String> {
    let line = prompt.lines().map(str::trim).find(|line| !line.is_empty())?;
    if line.chars().count() <= MOST {
        return Some(line.to_owned());
    }
    let cut: String = line.chars().take(MOST - 1).collect();
    Some(format!("{}…", cut.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_the_first_line_that_says_something() {
        assert_eq!(title("\n  Mend it. \nMore.").as_deref(), Some("Mend it."));
        let long = title(&"ä".repeat(500)).unwrap();
        assert_eq!(long.chars().count(), MOST);
        assert_eq!(title(" \n\t"), None);
    }
}
