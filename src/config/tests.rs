//! Settings: what wins, and what an error says.

use super::*;

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Layers, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journeyman.toml");
    std::fs::write(&file, text).unwrap();
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Layers::load(&file, variables)
}

fn message(text: &str, variables: &[(&str, &str)]) -> String {
    let text = load(text, variables).unwrap_err().to_string();
    text.rsplit_once("journeyman.toml").map_or(text.clone(), |(_, tail)| tail.to_owned())
}

#[test]
fn the_commented_file_has_every_key_with_its_default() {
    let text = include_str!("../../config/journeyman.toml");
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let written: toml::Table = toml::from_str(&uncommented).unwrap();
    assert_eq!(written, toml::Table::try_from(Settings::default()).unwrap());
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_table() {
    let layers = load(
        "[run]\nrounds = 5\nsteps = 7\n",
        &[("JOURNEYMAN__RUN__ROUNDS", "9"), ("HOME", "/nowhere")],
    )
    .unwrap()
    .with_table([
        ("run.steps".to_owned(), 1.into()),
        ("system.max_concurrent_tasks".to_owned(), 4.into()),
        ("codegen.org_id".to_owned(), "x".into()),
    ]);
    let settings = layers.settings().unwrap();
    assert_eq!((settings.run.rounds, settings.run.steps), (9, 7));
    assert_eq!(settings.system.max_concurrent_tasks, 4);
    assert_eq!(layers.get("run.rounds").unwrap().1.to_string(), "$JOURNEYMAN__RUN__ROUNDS");
    assert_eq!(layers.get("system.max_concurrent_tasks").unwrap().1, &Origin::Table);
}

#[test]
fn an_error_names_the_key_and_the_line() {
    assert_eq!(
        message("[run]\nsteps = 1\nronds = 5\n", &[]),
        ":3: ronds: unknown field `ronds`, expected one of `steps`, `wall_time_s`, \
         `output_bytes`, `rounds`, `call_timeout_s`, `check_timeout_s`, `budget_usd`, `tokens`, \
         `allow_unverified`"
    );
    assert_eq!(
        message("[run]\nrounds = \"five\"\n", &[]),
        ":2: rounds: invalid type: string \"five\", expected u32"
    );
    assert_eq!(
        message("", &[("JOURNEYMAN__RUN__ROUNDS", "five")]),
        "the environment variable JOURNEYMAN__RUN__ROUNDS: 'five' is no integer"
    );
    assert_eq!(
        message("", &[("JOURNEYMAN__RUN__RONDS", "5")]),
        "the environment variable JOURNEYMAN__RUN__RONDS: there is no setting 'run.ronds'"
    );
}

#[test]
fn setting_a_value_keeps_comments_and_refuses_nonsense() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journeyman.toml");
    std::fs::write(&file, "# mine\n[run]\nrounds = 5 # five\n").unwrap();
    let layers = Layers::load(&file, std::iter::empty()).unwrap();
    edit_file(&file, &layers, "run.steps", "3").unwrap();
    edit_file(&file, &layers, "sandbox.namespaces", "off").unwrap();
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.starts_with("# mine\n[run]\nrounds = 5 # five\nsteps = 3\n"), "{written}");
    let refused = edit_file(&file, &layers, "sandbox.namespaces", "maybe").unwrap_err();
    assert!(refused.to_string().contains("unknown variant `maybe`"), "{refused}");
    assert!(edit_file(&file, &layers, "run.stepps", "3").is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
}
