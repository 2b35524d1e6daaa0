//! Random trees as data, and as the files that are read.

use proptest::prelude::*;

use crate::{AutoShutdown, Restart, Strategy as Policy};

/// A child of a random tree.
#[derive(Debug, Clone)]
pub(super) struct Twig {
    pub(super) restart: Restart,
    pub(super) significant: bool,
    pub(super) node: Node,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    Leaf(&'static str),
    Branch(Branch),
}

/// A supervisor of a random tree.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub(super) strategy: Policy,
    pub(super) intensity: u32,
    pub(super) auto: AutoShutdown,
    pub(super) twigs: Vec<Twig>,
}

/// Trees of up to four levels of supervisors.
pub(super) fn trees(
    leaves: &'static [&'static str],
    intensity: std::ops::Range<u32>,
) -> impl Strategy<Value = Branch> {
    let leaf = prop::sample::select(leaves).prop_map(Node::Leaf);
    let node = leaf.prop_recursive(3, 16, 4, move |inner| {
        branch(inner, intensity.clone()).prop_map(Node::Branch)
    });
    branch(node, 2..6)
}

fn branch(
    node: impl Strategy<Value = Node> + Clone,
    intensity: std::ops::Range<u32>,
) -> impl Strategy<Value = Branch> + Clone {
    let policies =
        prop::sample::select(&[Policy::OneForOne, Policy::OneForAll, Policy::RestForOne]);
    let autos = prop_oneof![
        3 => Just(AutoShutdown::Never),
        1 => Just(AutoShutdown::AnySignificant),
        1 => Just(AutoShutdown::AllSignificant),
    ];
    let restarts = prop_oneof![
        4 => Just(Restart::Permanent), 2 => Just(Restart::Transient), 1 => Just(Restart::Temporary)
    ];
    let twigs = prop::collection::vec((restarts, any::<bool>(), node), 1..4);
    (policies, intensity, autos, twigs).prop_map(|(strategy, intensity, auto, twigs)| {
        let can = |restart| auto != AutoShutdown::Never && restart != Restart::Permanent;
        let twigs = twigs.into_iter().map(|(restart, significant, node)| Twig {
            restart,
            significant: significant && can(restart),
            node,
        });
        Branch { strategy, intensity, auto, twigs: twigs.collect() }
    })
}

/// A word as the file has it.
fn word(value: impl serde::Serialize) -> String {
    serde_json::to_string(&value).unwrap()
}

impl Branch {
    /// The file; tables are named by their paths.
    pub(super) fn to_toml(&self) -> String {
        let mut text = String::new();
        self.table("root", &mut text);
        text
    }

    fn table(&self, name: &str, text: &mut String) {
        let children: Vec<_> = self.twigs.iter().enumerate().map(|(place, twig)| {
            let what = match &twig.node {
                Node::Leaf(kind) => format!("kind = \"{kind}\""),
                Node::Branch(_) => format!("supervisor = \"{name}-{place}\""),
            };
            let shutdown = if matches!(twig.node, Node::Leaf("stuck")) { "shutdown = \"50ms\", " } else { "" };
            format!(
                "{{ id = \"{place}\", {what}, restart = {}, significant = {}, {shutdown}backoff = {{ min = \"10ms\", max = \"80ms\", jitter = 0.0 }} }}",
                word(twig.restart), twig.significant,
            )
        }).collect();
        text.push_str(&format!(
            "[{name}]\nstrategy = {}\nintensity = {}\nauto_shutdown = {}\nchildren = [{}]\n",
            word(self.strategy),
            self.intensity,
            word(self.auto),
            children.join(", "),
        ));
        for (place, twig) in self.twigs.iter().enumerate() {
            if let Node::Branch(branch) = &twig.node {
                branch.table(&format!("{name}-{place}"), text);
            }
        }
    }

    /// The places of all children, each by the way down to it.
    pub(super) fn places(&self) -> Vec<Vec<usize>> {
        let below = |(place, twig): (usize, &Twig)| {
            let deeper = match &twig.node {
                Node::Leaf(_) => Vec::new(),
                Node::Branch(branch) => branch.places(),
            };
            let deeper = deeper.into_iter().map(move |rest| [vec![place], rest].concat());
            std::iter::once(vec![place]).chain(deeper)
        };
        self.twigs.iter().enumerate().flat_map(below).collect()
    }

    pub(super) fn twig(&self, place: &[usize]) -> Option<&Twig> {
        let twig = self.twigs.get(*place.first()?)?;
        match (&twig.node, &place[1..]) {
            (_, []) => Some(twig),
            (Node::Branch(branch), rest) => branch.twig(rest),
            (Node::Leaf(_), _) => None,
        }
    }
}

/// The path of a place.
pub(super) fn path_of(place: &[usize]) -> String {
    place.iter().fold("root".to_owned(), |path, id| format!("{path}/{id}"))
}
