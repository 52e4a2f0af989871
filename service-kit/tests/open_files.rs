//! The limit of open files is that of a process: this test has one of its own.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service_kit::open_files;
use std::fs::File;

#[test]
fn a_process_may_open_as_many_files_as_the_system_grants() {
    let before = getrlimit(Resource::Nofile);
    let low = Rlimit {
        current: Some(64),
        maximum: before.maximum,
    };
    setrlimit(Resource::Nofile, low).unwrap();
    let open = || (0..100).map(|_| File::open("/dev/null"));
    assert!(open().collect::<Result<Vec<_>, _>>().is_err());

    assert_eq!(open_files::raise().unwrap(), before.maximum);
    assert_eq!(open_files::limit(), before.maximum);
    assert_eq!(open().collect::<Result<Vec<_>, _>>().unwrap().len(), 100);
}
