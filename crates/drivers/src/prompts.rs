//! The words that a model is given by its role.
//!
//! It owns which role has which prompt. It must never hold words of a user or of a repository.

/// The request for a hand-off before a conversation grows out of its context window.
pub const COMPACT: &str = include_str!("../../../config/prompts/compact.md");

/// What every role has in common.
const DEFAULT: &str = include_str!("../../../config/prompts/default.md");

/// The common prompt, and what the role adds to it.
macro_rules! with_default {
    ($role:literal) => {
        concat!(
            include_str!("../../../config/prompts/default.md"),
            include_str!(concat!("../../../config/prompts/", $role, ".md"))
        )
    };
}

/// The system prompt of a role, which is an agent's type; an unknown one gets what all have in
/// common.
pub fn prompt(role: &str) -> &'static str {
    match role {
        "general" => with_default!("general"),
        "reviewer" => with_default!("reviewer"),
        "tester" => with_default!("tester"),
        "analyzer" => with_default!("analyzer"),
        "optimizer" => with_default!("optimizer"),
        _ => DEFAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seeded_role_adds_its_own_words_and_others_get_the_common_ones() {
        for role in ["general", "reviewer", "tester", "analyzer", "optimizer"] {
            let own = prompt(role).strip_prefix(DEFAULT).unwrap();
            assert!(own.starts_with("\nYour role: "), "{role}");
            assert!(prompt(role).lines().count() < 40, "{role}");
        }
        assert_eq!(prompt("plumber"), DEFAULT);
        assert!(DEFAULT.lines().count() < 40 && COMPACT.lines().count() < 40);
    }

    #[test]
    fn each_agent_of_the_seed_has_a_role() {
        let seed = include_str!("../../../migrations/0011_seed.sql");
        let agents = seed.split_once("INSERT INTO codegen_agents").unwrap().1;
        let roles: Vec<&str> = agents
            .lines()
            .filter_map(|line| line.trim().strip_prefix("('")?.split('\'').nth(2))
            .collect();
        assert_eq!(roles, ["general", "reviewer", "tester", "analyzer", "optimizer"]);
        assert!(roles.iter().all(|role| prompt(role) != DEFAULT));
    }
}
