//! Reads TOML into a checked [`TreeSpec`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    AutoShutdown, Backoff, ChildSpec, Health, ROOT, Restart, Shutdown, SpecError, Start, Strategy,
    SupervisorSpec, TreeSpec, duration, schema,
};
use crate::path::is_id;

const WORKER_SHUTDOWN: Shutdown = Shutdown::Within(Duration::from_secs(5));

/// A supervisor.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Supervisor")]
pub(super) struct RawSupervisor {
    /// Which children a failure concerns.
    strategy: Strategy,
    /// How many restarts within `period` are accepted; one more, and the supervisor gives up.
    #[serde(default = "default_intensity")]
    intensity: u32,
    /// The sliding window of `intensity`.
    #[serde(default = "default_period", with = "duration")]
    #[schemars(with = "schema::Positive")]
    period: Duration,
    /// Whether the supervisor ends when significant children finish.
    #[serde(default)]
    auto_shutdown: AutoShutdown,
    /// How many children a dynamic supervisor may have at once; no limit if absent.
    max_children: Option<usize>,
    /// The children in the order of their start.
    #[serde(default)]
    children: Vec<RawChild>,
    /// The template of a dynamic supervisor's children.
    child: Option<RawChild>,
}

/// A child of a supervisor.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Child")]
pub(super) struct RawChild {
    /// The name among its siblings.
    id: Option<String>,
    /// The kind of a worker; its id if absent.
    kind: Option<String>,
    /// The table of a supervisor.
    supervisor: Option<String>,
    /// After which exits it is started again.
    #[serde(default)]
    restart: Restart,
    /// How it is stopped: "kill", "unbounded" (the default of supervisors), or how long it may take before it is
    /// killed ("5s" is the default of workers).
    #[schemars(with = "Option<schema::Stop>")]
    shutdown: Option<Shutdown>,
    /// Whether it counts for `auto_shutdown`.
    #[serde(default)]
    significant: bool,
    /// How its supervisor notices that it hangs.
    health: Option<Health>,
    /// The delay before a restart.
    #[serde(default)]
    backoff: Backoff,
}

fn default_intensity() -> u32 {
    1
}

fn default_period() -> Duration {
    Duration::from_secs(5)
}

fn invalid<T>(key: impl Into<String>, message: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError { key: key.into(), line: None, message: message.into() })
}

pub(super) fn load(text: &str) -> Result<TreeSpec, SpecError> {
    let raw: BTreeMap<String, RawSupervisor> = toml::Deserializer::parse(text)
        .map_err(|error| locate(".", text, &error))
        .and_then(|document| {
            serde_path_to_error::deserialize(document)
                .map_err(|error| locate(&error.path().to_string(), text, error.inner()))
        })?;
    let supervisors = raw
        .into_iter()
        .map(|(name, raw)| supervisor(&name, raw).map(|spec| (name, spec)))
        .collect::<Result<BTreeMap<_, _>, _>>()?;
    check_references(&supervisors)?;
    match supervisors.get(ROOT).cloned() {
        Some(root) => Ok(TreeSpec { supervisors, root }),
        None => invalid(ROOT, "the table of the root supervisor is missing"),
    }
}

fn locate(key: &str, text: &str, error: &toml::de::Error) -> SpecError {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map(|before| before.matches('\n').count() + 1);
    SpecError { key: key.to_owned(), line, message: error.message().to_owned() }
}

fn supervisor(name: &str, raw: RawSupervisor) -> Result<SupervisorSpec, SpecError> {
    if raw.period.is_zero() {
        return invalid(format!("{name}.period"), "must be longer than zero");
    }
    let children = if raw.strategy == Strategy::Dynamic {
        if !raw.children.is_empty() {
            return invalid(
                format!("{name}.children"),
                "a dynamic supervisor has one `child`, the template of all",
            );
        }
        let key = format!("{name}.child");
        let Some(template) = raw.child else {
            return invalid(key, "a dynamic supervisor needs the template of its children");
        };
        if template.id.is_some() {
            return invalid(
                format!("{key}.id"),
                "the children of a dynamic supervisor get their ids at run time",
            );
        }
        vec![child(&key, template, raw.auto_shutdown)?]
    } else {
        if raw.child.is_some() {
            return invalid(
                format!("{name}.child"),
                "only a dynamic supervisor has a template; use `children`",
            );
        }
        if raw.max_children.is_some() {
            return invalid(
                format!("{name}.max_children"),
                "only a dynamic supervisor has a limit",
            );
        }
        static_children(name, raw.children, raw.auto_shutdown)?
    };
    Ok(SupervisorSpec {
        strategy: raw.strategy,
        intensity: raw.intensity,
        period: raw.period,
        auto_shutdown: raw.auto_shutdown,
        max_children: raw.max_children,
        children,
    })
}

fn static_children(
    name: &str,
    raw: Vec<RawChild>,
    auto: AutoShutdown,
) -> Result<Vec<ChildSpec>, SpecError> {
    let mut ids = BTreeSet::new();
    let mut children = Vec::with_capacity(raw.len());
    for (index, entry) in raw.into_iter().enumerate() {
        let key = format!("{name}.children[{index}]");
        match &entry.id {
            None => return invalid(key, "needs an `id`"),
            Some(id) if !is_id(id) => {
                return invalid(
                    format!("{key}.id"),
                    format!("`{id}` is not made of letters, digits, `_`, `-` and `.`"),
                );
            }
            Some(id) if !ids.insert(id.clone()) => {
                return invalid(
                    format!("{key}.id"),
                    format!("`{id}` stands twice in this supervisor"),
                );
            }
            Some(_) => children.push(child(&key, entry, auto)?),
        }
    }
    Ok(children)
}

fn child(key: &str, raw: RawChild, auto: AutoShutdown) -> Result<ChildSpec, SpecError> {
    let start = match (raw.kind, raw.supervisor, &raw.id) {
        (Some(_), Some(_), _) => {
            return invalid(key, "has a `kind` and a `supervisor`; it can be only one of them");
        }
        (None, Some(name), _) => Start::Supervisor(name),
        (Some(kind), None, _) => Start::Worker(kind),
        (None, None, Some(id)) => Start::Worker(id.clone()),
        (None, None, None) => return invalid(key, "needs a `kind` or a `supervisor`"),
    };
    if raw.significant && auto == AutoShutdown::Never {
        return invalid(
            format!("{key}.significant"),
            "has no meaning while `auto_shutdown` is \"never\"",
        );
    }
    if raw.significant && raw.restart == Restart::Permanent {
        return invalid(format!("{key}.significant"), "a permanent child never finishes");
    }
    if let Some(health) = &raw.health
        && (health.every.is_zero() || health.timeout.is_zero() || health.failures == 0)
    {
        return invalid(
            format!("{key}.health"),
            "`every`, `timeout` and `failures` must be more than zero",
        );
    }
    check_backoff(&format!("{key}.backoff"), &raw.backoff)?;
    let shutdown = raw.shutdown.unwrap_or(match start {
        Start::Worker(_) => WORKER_SHUTDOWN,
        Start::Supervisor(_) => Shutdown::Unbounded,
    });
    Ok(ChildSpec {
        id: raw.id.unwrap_or_default(),
        start,
        restart: raw.restart,
        shutdown,
        significant: raw.significant,
        health: raw.health,
        backoff: raw.backoff,
    })
}

fn check_backoff(key: &str, backoff: &Backoff) -> Result<(), SpecError> {
    if backoff.min > backoff.max {
        return invalid(format!("{key}.min"), "is longer than `max`");
    }
    if !(backoff.factor.is_finite() && backoff.factor >= 1.0) {
        return invalid(format!("{key}.factor"), "must be a number of at least 1");
    }
    if !(0.0..=1.0).contains(&backoff.jitter) {
        return invalid(format!("{key}.jitter"), "must lie between 0 and 1");
    }
    Ok(())
}

/// Every supervisor but the root must be named exactly once, and the names must lead down from the root.
fn check_references(supervisors: &BTreeMap<String, SupervisorSpec>) -> Result<(), SpecError> {
    let mut parents: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, spec) in supervisors {
        for (index, child) in spec.children.iter().enumerate() {
            let Start::Supervisor(target) = &child.start else {
                continue;
            };
            let key = match spec.strategy {
                Strategy::Dynamic => format!("{name}.child.supervisor"),
                Strategy::OneForOne | Strategy::OneForAll | Strategy::RestForOne => {
                    format!("{name}.children[{index}].supervisor")
                }
            };
            if target == ROOT {
                return invalid(key, "the root cannot be a child");
            }
            if !supervisors.contains_key(target) {
                return invalid(key, format!("there is no table [{target}]"));
            }
            if let Some(other) = parents.insert(target, name) {
                return invalid(key, format!("[{target}] is already a child of [{other}]"));
            }
        }
    }
    for name in supervisors.keys().map(String::as_str).filter(|name| *name != ROOT) {
        // A supervisor has at most one parent, so the way up either ends or runs in a circle.
        let mut top = name;
        let mut seen = BTreeSet::from([name]);
        while let Some(parent) = parents.get(top) {
            if !seen.insert(parent) {
                return invalid(name, "this supervisor is its own ancestor");
            }
            top = parent;
        }
        if top != ROOT {
            return invalid(top, "no other supervisor has this one as a child");
        }
    }
    Ok(())
}
