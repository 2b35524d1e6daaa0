//! A folder that the user names becomes a codebase.

use std::path::{Path, PathBuf};

use journeyman_store::{Acting, Codebase, NewCodebase, Store};
use journeyman_workspace::{RepositoryFacts, inspect};

use crate::problem::Refusal;

/// A file at the root of a repository, and the language that it tells; the first one found counts.
const MARKERS: [(&str, &str); 14] = [
    ("Cargo.toml", "rust"),
    ("go.mod", "go"),
    ("pyproject.toml", "python"),
    ("setup.py", "python"),
    ("requirements.txt", "python"),
    ("tsconfig.json", "typescript"),
    ("package.json", "javascript"),
    ("pom.xml", "java"),
    ("build.gradle.kts", "kotlin"),
    ("build.gradle", "java"),
    ("CMakeLists.txt", "cpp"),
    ("Gemfile", "ruby"),
    ("composer.json", "php"),
    ("Package.swift", "swift"),
];

/// What is at a path that the user gave; nothing is written.
pub(crate) async fn look(path: &str) -> Result<RepositoryFacts, Refusal> {
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err(Refusal::usage(format!(
            "the path of a repository must be absolute, and '{}' is not",
            path.display()
        )));
    }
    Ok(inspect(path).await?)
}

/// The repository's row, made where there is none.
pub(crate) async fn register(
    store: &Store,
    facts: &RepositoryFacts,
    name: Option<&str>,
) -> Result<Codebase, Refusal> {
    let Some(path) = facts.root.to_str() else {
        return Err(Refusal::usage(format!(
            "the path {} is not valid UTF-8",
            facts.root.display()
        )));
    };
    let folder = facts.root.file_name().and_then(|name| name.to_str());
    let name = name.map(str::trim).filter(|name| !name.is_empty());
    let language = language(facts.root.clone()).await;
    let new = NewCodebase {
        local_path: path,
        name: name.or(folder).unwrap_or("root"),
        default_branch: facts.branch.as_deref(),
        language,
    };
    Ok(store.codebases().register(&Acting::now("user"), &new).await?)
}

async fn language(root: PathBuf) -> Option<&'static str> {
    for (file, language) in MARKERS {
        if tokio::fs::try_exists(root.join(file)).await.unwrap_or(false) {
            return Some(language);
        }
    }
    None
}
