//! All scenarios.

use crate::{Result, distributed, peers, scenario::Scenario, sessions, upload};

/// Everything that can be measured, in the order of reports.
#[must_use]
pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    let mut all = upload::scenarios();
    all.extend(peers::scenarios());
    all.extend(sessions::scenarios());
    all.extend(distributed::scenarios());
    all
}

/// Those that are named; those that run by default if none is, all of them by the name `all`.
///
/// # Errors
/// When there is none of a name.
pub fn choose(names: &[String]) -> Result<Vec<Box<dyn Scenario>>> {
    let all = scenarios();
    let known = |name: &String| name == "all" || all.iter().any(|one| one.name() == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let names: Vec<&str> = all.iter().map(|scenario| scenario.name()).collect();
        return Err(format!("no scenario {unknown}; there are: {}", names.join(", ")).into());
    }
    let wanted = |scenario: &dyn Scenario| {
        if names.is_empty() {
            scenario.by_default()
        } else {
            names
                .iter()
                .any(|name| name == "all" || name == scenario.name())
        }
    };
    Ok(all.into_iter().filter(|one| wanted(one.as_ref())).collect())
}
