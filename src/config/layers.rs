//! The layers that settings come from, merged value by value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{ConfigError, Settings};

const PREFIX: &str = "JOURNEYMAN__";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The table `system_configuration`.
    Table,
    /// The user's file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Table => f.write_str("system_configuration"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "${name}"),
        }
    }
}

/// Every setting by its dotted key, with its origin.
#[derive(Clone, Debug)]
pub struct Layers {
    values: BTreeMap<String, (Value, Origin)>,
}

impl Layers {
    /// Defaults, then the user's file where there is one, then the environment.
    pub fn load(
        file: &Path,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Self { values: BTreeMap::new() };
        let defaults = Table::try_from(Settings::default())
            .map_err(|error| ConfigError::UnknownKey(error.to_string()))?;
        layers.put(&defaults, &Origin::Default);
        match std::fs::read_to_string(file) {
            Ok(text) => {
                let _: Settings = parse(file, &text)?;
                layers.put(&parse::<Table>(file, &text)?, &Origin::File(file.to_owned()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ConfigError::Io { path: file.to_owned(), action: "read", source });
            }
        }
        for (name, text) in variables {
            layers.variable(&name, &text)?;
        }
        Ok(layers)
    }

    /// Puts the rows of `system_configuration` below the file and above the defaults. Rows that
    /// are no settings of ours are left to their readers.
    #[must_use]
    pub fn with_table(
        mut self,
        rows: impl IntoIterator<Item = (String, serde_json::Value)>,
    ) -> Self {
        for (key, json) in rows {
            let Some((old, Origin::Default)) = self.values.get(&key) else { continue };
            let Ok(value) = Value::try_from(&json) else { continue };
            if value.same_type(old) {
                self.values.insert(key, (value, Origin::Table));
            }
        }
        self
    }

    /// The typed whole.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let mut whole = Table::new();
        for (key, (value, _)) in &self.values {
            let Some((section, name)) = key.split_once('.') else { continue };
            let section = whole.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                section.insert(name.to_owned(), value.clone());
            }
        }
        whole.try_into().map_err(|error: toml::de::Error| ConfigError::BadValue {
            key: "settings".to_owned(),
            value: String::new(),
            message: error.message().to_owned(),
        })
    }

    /// Every key with its value and origin, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value, &Origin)> {
        self.values.iter().map(|(key, (value, origin))| (key.as_str(), value, origin))
    }

    /// One value.
    pub fn get(&self, key: &str) -> Result<(&Value, &Origin), ConfigError> {
        let found = self.values.get(key).ok_or_else(|| ConfigError::UnknownKey(key.to_owned()))?;
        Ok((&found.0, &found.1))
    }

    fn put(&mut self, table: &Table, origin: &Origin) {
        for (section, values) in table {
            let Value::Table(values) = values else { continue };
            for (name, value) in values {
                self.values.insert(format!("{section}.{name}"), (value.clone(), origin.clone()));
            }
        }
    }

    fn variable(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(()) };
        let fail = |message: String| ConfigError::Variable { name: name.to_owned(), message };
        let key = rest.to_lowercase().replacen("__", ".", 1);
        let Some((old, _)) = self.values.get(&key) else {
            return Err(fail(format!("there is no setting '{key}'")));
        };
        let value = value_like(old, text).map_err(fail)?;
        self.values.insert(key, (value, Origin::Variable(name.to_owned())));
        let _ = self.settings().map_err(|error| fail(error.to_string()))?;
        Ok(())
    }
}

/// Reads a TOML file into its type; an error has the line and names the key.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let line = text[..offset.min(text.len())].matches('\n').count() + 1;
        let key = text.lines().nth(line - 1).and_then(|line| line.split_once('='));
        let key = key.map(|(key, _)| format!("{}: ", key.trim())).unwrap_or_default();
        let message = format!("{key}{}", error.message().replace('\n', " "));
        ConfigError::File { path: path.to_owned(), line, message }
    })
}

/// A text as a value of the same type as another one.
fn value_like(old: &Value, text: &str) -> Result<Value, String> {
    if old.is_str() {
        return Ok(Value::String(text.to_owned()));
    }
    let parsed: Result<Table, _> = toml::from_str(&format!("value = {text}"));
    let value = parsed.ok().and_then(|mut table| table.remove("value"));
    match value {
        Some(value) if value.same_type(old) => Ok(value),
        Some(Value::Integer(whole)) if old.is_float() =>
        {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a setting with a fraction is no large number"
            )]
            Ok(Value::Float(whole as f64))
        }
        _ => Err(format!("'{text}' is no {}", old.type_str())),
    }
}

/// Writes one value into the user's file and keeps its comments and order.
pub fn edit_file(file: &Path, layers: &Layers, key: &str, text: &str) -> Result<(), ConfigError> {
    let (old, _) = layers.get(key)?;
    let bad = |message: String| ConfigError::BadValue {
        key: key.to_owned(),
        value: text.to_owned(),
        message,
    };
    let value = value_like(old, text).map_err(bad)?;
    let io = |action| move |source| ConfigError::Io { path: file.to_owned(), action, source };
    let before = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(io("read")(error)),
    };
    let mut document: toml_edit::DocumentMut =
        before.parse().map_err(|error: toml_edit::TomlError| bad(error.message().to_owned()))?;
    let (section, name) = key.split_once('.').unwrap_or((key, ""));
    let literal: toml_edit::Value =
        value.to_string().parse().map_err(|error: toml_edit::TomlError| bad(error.to_string()))?;
    document.entry(section).or_insert_with(toml_edit::table)[name] = toml_edit::value(literal);
    let after = document.to_string();
    let _: Settings = parse(file, &after).map_err(|error| bad(error.to_string()))?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(io("written"))?;
    }
    let temporary = file.with_extension("toml.new");
    std::fs::write(&temporary, after).map_err(io("written"))?;
    std::fs::rename(&temporary, file).map_err(io("written"))
}
