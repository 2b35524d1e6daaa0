//! What is read of a base before there is a workspace.

use std::os::unix::fs::symlink;

use journeyman_workspace::{WorkspaceError, contents, inspect, uncommitted};

use super::Scene;

#[tokio::test]
async fn files_of_a_commit_are_read_without_a_workspace_and_links_stay_inside() {
    let scene = Scene::empty();
    scene.write("Cargo.toml", "[package]\n");
    scene.write("web app/package.json", "{\"name\": \"ä\"}");
    scene.write("empty", "");
    scene.write("long", &"x".repeat(100));
    for (target, name) in [
        ("Cargo.toml", "inside"),
        ("/etc/hostname", "outside"),
        ("../../etc/hostname", "above"),
        ("nowhere", "dangling"),
        ("around", "around"),
    ] {
        symlink(target, scene.repository.join(name)).unwrap();
    }
    scene.commit("first");
    scene.write("Cargo.toml", "changed, not committed");
    let base = inspect(&scene.repository).await.unwrap().head_commit;
    let names = [
        "above",
        "inside",
        "missing",
        "web app",
        "dangling",
        "empty",
        "around",
        "outside",
        "long",
        "web app/package.json",
        "Cargo.toml",
    ];
    let names = names.map(str::to_owned);
    let read = contents(&scene.repository, &base, &names, 40).await.unwrap();
    let read: Vec<_> = read.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let long = "x".repeat(40);
    let expected = [
        ("Cargo.toml", "[package]\n"),
        ("empty", ""),
        ("inside", "[package]\n"),
        ("long", &long),
        ("web app/package.json", "{\"name\": \"ä\"}"),
    ];
    assert_eq!(read, expected);
    assert_eq!(uncommitted(&scene.repository).await.unwrap(), 1);
}

#[tokio::test]
async fn the_branch_is_told_also_where_its_name_is_a_tags_too() {
    let scene = Scene::new();
    scene.git(&["checkout", "-q", "-b", "work/ä"]);
    scene.git(&["tag", "work/ä"]);
    let facts = inspect(&scene.repository.join("src")).await.unwrap();
    assert_eq!(facts.branch.as_deref(), Some("work/ä"));
    assert_eq!(facts.root, scene.repository.canonicalize().unwrap());
    assert_eq!(facts.head_commit.as_str(), scene.git(&["rev-parse", "HEAD"]));
    scene.git(&["checkout", "-q", "--detach"]);
    assert!(inspect(&scene.repository).await.unwrap().detached());
    let inside = inspect(&scene.repository.join(".git")).await;
    assert!(matches!(inside, Err(WorkspaceError::NotARepository(_))), "{inside:?}");
}
