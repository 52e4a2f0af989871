//! The benchmark itself, from end to end, with tiny sizes: it measures nothing and shows that everything works.

use std::process::Command;

fn bench(folder: &std::path::Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn the_floors_take_what_the_generator_sends() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let scenarios = ["upload-one-256m", "upload-64x8x2m", "upload-500x512k"];
    for scenario in scenarios {
        let options = ["--quick", "--rounds", "2", "--only", "floor", "--out", "."];
        let (well, text) = bench(folder.path(), &[&[scenario], &options[..]].concat());
        assert!(well && text.contains("floor, O_DIRECT"), "{text}");
        let json =
            std::fs::read_to_string(folder.path().join(format!("quick/{scenario}.json"))).unwrap();
        let results: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            results["rows"][0]["rounds"].as_array().unwrap().len(),
            2,
            "{json}"
        );
    }
    let (well, text) = bench(folder.path(), &["report", "quick"]);
    assert!(well, "{text}");
    for scenario in scenarios {
        assert!(text.contains(&format!("### {scenario}")), "{text}");
    }
    let left = std::fs::read_dir(folder.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().contains("scratch")),
        "{left:?}"
    );
}

#[test]
fn what_is_not_there_is_skipped_and_said_to_be() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let options = [
        "--quick", "--rounds", "1", "--only", "sluice", "--sluice", "nowhere", "--out", ".",
    ];
    let (well, text) = bench(folder.path(), &[&["upload-64x8x2m"], &options[..]].concat());
    assert!(!well && text.contains("sluice: skipped: "), "{text}");
    for (name, why) in [
        ("Nobody", "is called Nobody"),
        ("floor,Nobody", "is called Nobody"),
    ] {
        let options = ["--quick", "--rounds", "1", "--only", name, "--out", "."];
        let (well, text) = bench(folder.path(), &[&["upload-64x8x2m"], &options[..]].concat());
        assert!(!well && text.contains(why), "{text}");
    }
    let options = ["--quick", "--beside", "nowhere", "--out", "."];
    let (well, text) = bench(folder.path(), &[&["upload-64x8x2m"], &options[..]].concat());
    assert!(!well && text.contains("there is no "), "{text}");
    // A scenario in which nobody of these takes part is passed over.
    let options = ["--quick", "--rounds", "1", "--only", "floor", "--out", "."];
    let scenarios = ["download-one-256m", "upload-64x8x2m"];
    let (well, text) = bench(folder.path(), &[&scenarios, &options[..]].concat());
    assert!(
        well && text.contains("download-one-256m: nobody asked for takes part"),
        "{text}"
    );
    let (well, text) = bench(folder.path(), &["no-such-thing"]);
    assert!(!well && text.contains("upload-64x8x2m"), "{text}");
}
