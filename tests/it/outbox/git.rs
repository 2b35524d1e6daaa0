//! Git's part by itself: which remote, which base, and a push that only ever makes a branch.

use journeyman_domain::ids::NodeId;
use journeyman_testkit::remote::GitRemote;
use journeyman_workspace::{GitError, ObjectId, Pushing, base_branch, push, remote, remote_branch};

use crate::recovery::scene::notes;
use crate::support::{Home, git};

fn node() -> NodeId {
    NodeId::from_uuid(uuid::Uuid::now_v7())
}

fn commit(folder: &std::path::Path, message: &str) -> ObjectId {
    git(folder, &["commit", "-q", "--allow-empty", "-m", message]);
    git(folder, &["rev-parse", "HEAD"]).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_makes_a_branch_and_moves_none() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let folder = home.folder.path().join("r");
    let there = GitRemote::new(&folder, &repository, "git@127.0.0.1:a/b.git").unwrap();
    let first: ObjectId = git(&repository, &["rev-parse", "HEAD"]).parse().unwrap();
    let second = commit(&repository, "second");
    let looked = remote_branch(node(), &repository, "origin", "x").await.unwrap();
    assert_eq!((looked.commit, looked.default.as_deref()), (None, Some("main")));
    let to = |commit| Pushing { destination: "origin", branch: "x", commit };
    push(node(), &repository, to(&first)).await.unwrap();
    assert_eq!(
        remote_branch(node(), &repository, "origin", "x").await.unwrap().commit,
        Some(first.clone())
    );
    // The same again changes nothing.
    push(node(), &repository, to(&first)).await.unwrap();
    // What is there would only have to move forward: it does not.
    let Err(GitError::Failed { message, .. }) = push(node(), &repository, to(&second)).await else {
        panic!("it was moved");
    };
    let refused = journeyman_domain::outbox::git::push_refused("x", &message);
    assert!(matches!(refused, Ok(journeyman_domain::outbox::Acted::IsThere { .. })), "{message}");
    assert_eq!((there.branch("x"), there.changes("x")), (Some(first.to_string()), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_remote_is_the_one_that_git_would_push_to() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let name = async || remote(&repository).await.unwrap().map(|remote| remote.name);
    assert_eq!(name().await, None);
    git(&repository, &["remote", "add", "mine", "git@h:a/mine.git"]);
    assert_eq!(name().await.as_deref(), Some("mine"));
    git(&repository, &["remote", "add", "theirs", "https://me:secret-of-mine@h/a/theirs.git"]);
    assert_eq!(name().await, None);
    git(&repository, &["remote", "add", "origin", "git@h:a/origin.git"]);
    assert_eq!(name().await.as_deref(), Some("origin"));
    git(&repository, &["config", "remote.pushDefault", "theirs"]);
    let found = remote(&repository).await.unwrap().unwrap();
    assert_eq!(found.name, "theirs");
    assert!(!format!("{found:?}").contains("secret-of-mine"), "{found:?}");
    assert!(remote(&repository.join("gone")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_in_the_way_of_a_name_stays_there() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let address = "git@127.0.0.1:a/b.git";
    let there = GitRemote::new(&home.folder.path().join("r"), &repository, address).unwrap();
    let commit: ObjectId = git(&repository, &["rev-parse", "HEAD"]).parse().unwrap();
    for (taken, branch) in [("journeyman", "journeyman/x"), ("a/b", "a")] {
        git(&there.bare(), &["branch", taken, "main"]);
        let pushing = Pushing { destination: "origin", branch, commit: &commit };
        let Err(GitError::Failed { message, .. }) = push(node(), &repository, pushing).await else {
            panic!("it was pushed");
        };
        let refused = journeyman_domain::outbox::git::push_refused("x", &message);
        let Err(journeyman_domain::outbox::Fault::Lasting { reason }) = refused else {
            panic!("{refused:?}");
        };
        let expected = format!(
            "x does not take the branch, since another one is in the way of its name: remote: error: cannot lock \
             ref 'refs/heads/{branch}': 'refs/heads/{taken}' exists; cannot create 'refs/heads/{branch}'"
        );
        assert_eq!(reason, expected);
    }
}

/// Who fetches from a mirror and pushes elsewhere is looked for where the push goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_goes_where_the_push_goes() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let address = "git@127.0.0.1:a/b.git";
    let there = GitRemote::new(&home.folder.path().join("r"), &repository, address).unwrap();
    let plain = remote(&repository).await.unwrap().unwrap();
    assert_eq!((plain.address.as_str(), plain.destination.as_str()), (address, "origin"));

    let mirror = home.folder.path().join("mirror.git");
    git(home.folder.path(), &["clone", "-q", "--bare", repository.to_str().unwrap(), "mirror.git"]);
    git(&repository, &["remote", "set-url", "origin", mirror.to_str().unwrap()]);
    git(&repository, &["remote", "set-url", "--push", "origin", address]);
    let found = remote(&repository).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.address.as_str()), ("origin", address));
    let commit: ObjectId = git(&repository, &["rev-parse", "HEAD"]).parse().unwrap();
    let look =
        async || remote_branch(node(), &repository, &found.destination, "x").await.unwrap().commit;
    assert_eq!(look().await, None);
    let pushing = Pushing { destination: &found.destination, branch: "x", commit: &commit };
    push(node(), &repository, pushing).await.unwrap();
    assert_eq!((look().await, there.changes("x")), (Some(commit.clone()), 1));
    assert_eq!(git(&mirror, &["branch", "--list", "x"]), "");

    // Of several addresses the first one is taken, for both.
    git(&repository, &["remote", "set-url", "--add", "--push", "origin", mirror.to_str().unwrap()]);
    let first = remote(&repository).await.unwrap().unwrap();
    assert_eq!(first.destination, address);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_base_is_the_branch_that_alone_has_the_commit() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    GitRemote::new(&home.folder.path().join("r"), &repository, "git@127.0.0.1:a/b.git").unwrap();
    let base = async |commit: &ObjectId| base_branch(&repository, "origin", commit).await.unwrap();
    let on_main: ObjectId = git(&repository, &["rev-parse", "HEAD"]).parse().unwrap();
    let at = |name: &str, commit: &ObjectId| {
        git(&repository, &["update-ref", &format!("refs/remotes/origin/{name}"), commit.as_str()]);
    };
    let release = commit(&repository, "release");
    assert_eq!(base(&release).await, None);
    at("release", &release);
    assert_eq!((base(&on_main).await, base(&release).await), (None, Some("release".into())));
    // A branch on top of it does not hide it; several on top of a commit say nothing.
    let later = commit(&repository, "later");
    at("one", &later);
    at("two", &later);
    assert_eq!((base(&release).await, base(&later).await), (Some("release".into()), None));
}
