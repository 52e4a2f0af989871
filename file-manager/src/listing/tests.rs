use super::*;
use crate::sample;
use proptest::prelude::*;
use protocol::{TenantId, identity::Role};
use std::collections::BTreeMap;

fn caller(role: Role) -> Caller {
    Caller {
        user_id: UserId::new(),
        name: "ada".to_owned(),
        role,
        tenant: TenantId::default(),
    }
}

#[test]
fn who_may_list_whose_files() {
    let (user, admin, other) = (caller(Role::User), caller(Role::Admin), UserId::new());
    let table = [
        (&user, None, Some(Some(user.user_id))),
        (&user, Some(user.user_id), Some(Some(user.user_id))),
        (&user, Some(other), None),
        (&admin, None, Some(None)),
        (&admin, Some(admin.user_id), Some(Some(admin.user_id))),
        (&admin, Some(other), Some(Some(other))),
    ];
    for (caller, owner, expected) in table {
        let visible = visible_owner(caller, owner);
        assert_eq!(
            visible.as_ref().err().map_or("", |problem| &problem.code),
            if expected.is_some() { "" } else { "forbidden" }
        );
        assert_eq!(
            visible.ok(),
            expected,
            "{:?} asks for {owner:?}",
            caller.role
        );
    }
}

#[test]
fn limits() {
    for (limit, expected) in [
        (None, Some(50)),
        (Some(1), Some(1)),
        (Some(1000), Some(1000)),
        (Some(0), None),
        (Some(1001), None),
    ] {
        let checked = checked_limit(limit);
        assert!(
            checked
                .as_ref()
                .err()
                .is_none_or(|problem| problem.code == "invalid-message")
        );
        assert_eq!(checked.ok(), expected, "{limit:?}");
    }
}

/// Where a file of the model is to be found.
#[derive(Clone, Copy, Debug)]
enum Place {
    Stored,
    Unstored,
    Both,
}

/// The list that a source would answer: newest first, after the cursor, at most `limit`.
fn stretch(files: &[FileInfo], after: Option<Cursor>, limit: usize) -> Vec<FileInfo> {
    let follows = |file: &&FileInfo| after.is_none_or(|after| Cursor::after(file) < after);
    let mut files: Vec<_> = files.iter().filter(follows).cloned().collect();
    files.sort_by_key(|file| Reverse(Cursor::after(file)));
    files.truncate(limit);
    files
}

fn uploader_page(files: &[FileInfo], after: Option<Cursor>, limit: usize) -> FilePage {
    let mut files = stretch(files, after, limit + 1);
    let more = files.len() > limit;
    files.truncate(limit);
    let next_cursor = files
        .last()
        .filter(|_| more)
        .map(|last| Cursor::after(last).to_string());
    FilePage { files, next_cursor }
}

proptest! {
    /// Following the cursors, whatever the limits, gives every file exactly once, in order, and the stored one of two.
    #[test]
    fn pages_make_up_the_whole(
        model in prop::collection::vec((0..6_i64, prop_oneof![Just(Place::Stored), Just(Place::Unstored), Just(Place::Both)]), 0..40),
        limits in prop::collection::vec(1..9_usize, 1..8),
        uploaders_own_limit in 1..9_usize,
    ) {
        let owner = UserId::new();
        let (mut stored, mut unstored, mut all) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (time, place) in model {
            let file = sample::file(owner, time);
            let under_way = FileInfo { status: TransferStatus::Storing, stored_at: None, ..file.clone() };
            if matches!(place, Place::Unstored | Place::Both) {
                all.insert(Reverse(Cursor::after(&file)), under_way.clone());
                unstored.push(under_way);
            }
            if matches!(place, Place::Stored | Place::Both) {
                all.insert(Reverse(Cursor::after(&file)), file.clone());
                stored.push(file);
            }
        }
        let (mut listed, mut after) = (Vec::new(), None);
        for limit in limits.iter().cycle() {
            let page = merge(
                stretch(&stored, after, limit + 1),
                uploader_page(&unstored, after, (*limit).min(uploaders_own_limit)),
                *limit,
            ).unwrap();
            prop_assert!(page.files.len() <= *limit);
            prop_assert!(page.next_cursor.is_none() || !page.files.is_empty());
            listed.extend(page.files);
            let Some(cursor) = page.next_cursor else { break };
            after = Some(cursor.parse().unwrap());
        }
        prop_assert_eq!(listed, all.into_values().collect::<Vec<_>>());
    }
}

#[test]
fn the_last_page_says_so() {
    let files: Vec<_> = [3, 2, 1]
        .map(|time| sample::file(UserId::new(), time))
        .into();
    for (limit, has_next) in [(2, true), (3, false), (4, false)] {
        let page = merge(stretch(&files, None, limit + 1), FilePage::default(), limit).unwrap();
        assert_eq!(page.next_cursor.is_some(), has_next, "limit {limit}");
    }
}

#[test]
fn a_page_of_long_texts_has_fewer_files_and_the_rest_follows() {
    let mut files: Vec<_> = (0..300)
        .rev()
        .map(|time| sample::file(UserId::new(), time))
        .collect();
    for file in &mut files {
        file.description = Some("x".repeat(10_000));
    }
    let page = merge(files.clone(), FilePage::default(), 1000).unwrap();
    assert!(
        (50..200).contains(&page.files.len()),
        "{}",
        page.files.len()
    );
    let end = Cursor::after(page.files.last().unwrap()).to_string();
    assert_eq!(page.next_cursor, Some(end));

    files[0].description = Some("x".repeat(2 * PAGE_BYTES));
    let page = merge(files, FilePage::default(), 1000).unwrap();
    assert_eq!(
        page.files.len(),
        1,
        "a list comes to its end whatever a file is like"
    );
    assert!(page.next_cursor.is_some());
}
