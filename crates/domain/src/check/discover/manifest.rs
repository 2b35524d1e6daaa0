//! Just enough of TOML and INI to see which sections and keys a manifest has.
//!
//! Only questions like "is ruff configured" are asked here; what the tools themselves make of a
//! manifest is theirs to say.

/// A manifest's keys with their sections before them ("project.dependencies"), values raw.
pub(super) struct Manifest(Vec<(String, String)>);

impl Manifest {
    /// Reads TOML: sections, keys, and values over several lines.
    pub(super) fn toml(text: &str) -> Self {
        let mut entries = Vec::new();
        let mut section = String::new();
        let mut open: Option<(String, String, Value)> = None;
        for line in text.lines() {
            if let Some((key, mut raw, mut value)) = open.take() {
                raw.push('\n');
                value.take(line, &mut raw);
                open = Some((key, raw, value));
            } else {
                let line = line.trim();
                if line.starts_with('[') {
                    let header = line.split('#').next().unwrap_or_default();
                    section = plain_key(header.trim().trim_matches(['[', ']']));
                    entries.push((section.clone(), String::new()));
                } else if let Some((key, rest)) =
                    line.split_once('=').filter(|_| !line.starts_with('#'))
                {
                    let key = plain_key(key);
                    let key = if section.is_empty() { key } else { format!("{section}.{key}") };
                    let (mut value, mut raw) = (Value::default(), String::new());
                    value.take(rest, &mut raw);
                    open = Some((key, raw, value));
                }
            }
            if let Some((key, raw, value)) = open.take() {
                if value.is_open() {
                    open = Some((key, raw, value));
                } else {
                    entries.push((key, raw.trim().to_owned()));
                }
            }
        }
        Self(entries)
    }

    /// Reads INI: sections, keys, and values over indented lines.
    pub(super) fn ini(text: &str) -> Self {
        let mut entries: Vec<(String, String)> = Vec::new();
        let mut section = String::new();
        for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
            let trimmed = line.trim();
            if line.starts_with('[') {
                trimmed.trim_matches(['[', ']']).clone_into(&mut section);
                entries.push((section.clone(), String::new()));
            } else if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = entries.last_mut() {
                    value.push('\n');
                    value.push_str(trimmed);
                }
            } else if let Some((key, value)) = trimmed.split_once(['=', ':']) {
                entries.push((format!("{section}.{}", key.trim()), value.trim().to_owned()));
            }
        }
        Self(entries)
    }

    /// Whether this section or key, or one below it, is there.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.iter().any(|(key, _)| {
            key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// The raw value of a key.
    pub(super) fn get(&self, path: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, value)| key == path && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// The quoted strings in the value of a key.
    pub(super) fn strings(&self, path: &str) -> Vec<String> {
        self.get(path).map(strings).unwrap_or_default()
    }

    /// The keys directly below a section.
    pub(super) fn keys(&self, section: &str) -> Vec<&str> {
        let below = |key: &'_ str| {
            key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')).map(str::len)
        };
        self.0
            .iter()
            .filter_map(|(key, _)| below(key).map(|len| &key[key.len() - len..]))
            .filter(|key| !key.contains('.'))
            .collect()
    }
}

/// "tool . 'ruff'" is "tool.ruff".
fn plain_key(key: &str) -> String {
    key.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'')).collect()
}

/// Where the reading of one value stands.
#[derive(Default)]
struct Value {
    depth: i32,
    /// The quotes of a string that goes on over the line's end.
    long: Option<&'static str>,
}

impl Value {
    fn is_open(&self) -> bool {
        self.depth > 0 || self.long.is_some()
    }

    /// Takes a line's rest, without its comment.
    fn take(&mut self, line: &str, raw: &mut String) {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            if let Some(quotes) = self.long {
                let end = rest.find(quotes);
                self.long = if end.is_some() { None } else { Some(quotes) };
                let end = end.map_or(rest.len(), |at| at + quotes.len());
                raw.push_str(&rest[..end]);
                rest = &rest[end..];
                continue;
            }
            if let Some(quotes) =
                ["\"\"\"", "'''"].into_iter().find(|quotes| rest.starts_with(*quotes))
            {
                self.long = Some(quotes);
                raw.push_str(quotes);
                rest = &rest[3..];
                continue;
            }
            let len = match c {
                '#' => return,
                '"' | '\'' => quoted_len(rest, c),
                _ => c.len_utf8(),
            };
            match c {
                '[' | '{' => self.depth += 1,
                ']' | '}' => self.depth -= 1,
                _ => {}
            }
            raw.push_str(&rest[..len]);
            rest = &rest[len..];
        }
    }
}

/// Bytes of the quoted string at the start, both quotes included; the rest where it has no end.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote == '"' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

fn strings(raw: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = raw;
    while let Some(at) = rest.find(['"', '\'']) {
        let quote = if rest[at..].starts_with('"') { '"' } else { '\'' };
        let len = quoted_len(&rest[at..], quote);
        found.push(rest[at..at + len].trim_matches(quote).replace("\\\"", "\""));
        rest = &rest[at + len..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_keys_and_lists() {
        let manifest = Manifest::toml(
            "[project]\nname = 'x' # [tool.no]\ndependencies = [\n  \"uvicorn[standard]>=1\", # why\n  'a; python_version<\"3\"',\n]\n\
             text = \"\"\"\n[tool.fake]\n\"\"\"\n[tool.\"ruff\".lint]\nselect = [\"E\"]\n[dependency-groups]\ndev = []\n[[bin]]\nname = \"b\"\n",
        );
        assert_eq!(
            manifest.strings("project.dependencies"),
            ["uvicorn[standard]>=1", "a; python_version<\"3\""]
        );
        assert!(
            manifest.has("tool.ruff")
                && manifest.has("bin")
                && manifest.has("dependency-groups.dev")
        );
        assert!(!manifest.has("tool.fake") && !manifest.has("tool.no") && !manifest.has("tool.ru"));
        assert_eq!(manifest.keys("project"), ["name", "dependencies", "text"]);
    }

    #[test]
    fn ini_values_over_lines() {
        let manifest = Manifest::ini(
            "[options]\ninstall_requires =\n    a>=1\n    b\n[tool:pytest]\naddopts = -q\n",
        );
        assert_eq!(manifest.get("options.install_requires"), Some("\na>=1\nb"));
        assert!(manifest.has("tool:pytest"));
    }
}
