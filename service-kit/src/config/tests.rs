use std::fs;

use serde::Deserialize;
use tempfile::TempDir;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sample {
    data: String,
    gateway: Gateway,
    sign: Signing,
    extra: Option<Extra>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Gateway {
    listen: String,
    sessions: u32,
    origins: Vec<String>,
    ports: Vec<u16>,
    verbose: bool,
    chunk: ByteSize,
    deadline: Millis,
    ratio: Option<f64>,
    cert_file: String,
    names: BTreeMap<String, u8>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Signing {
    key: Secret,
}

impl PartialEq for Signing {
    fn eq(&self, other: &Self) -> bool {
        self.key.expose() == other.key.expose()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Extra {
    depth: u8,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            data: "./data".to_owned(),
            gateway: Gateway::default(),
            sign: Signing::default(),
            extra: None,
        }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            sessions: 10,
            origins: vec!["http://localhost".to_owned()],
            ports: Vec::new(),
            verbose: false,
            chunk: ByteSize::mib(1),
            deadline: Millis::secs(10),
            ratio: None,
            cert_file: String::new(),
            names: BTreeMap::new(),
        }
    }
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn with_env(variables: &[(&str, &str)]) -> Loader {
    Loader::new("SLUICE").environment(variables.iter().copied())
}

fn load(loader: &Loader) -> Sample {
    loader
        .load::<Sample>()
        .unwrap_or_else(|error| panic!("{error}"))
        .config
}

fn refused(loader: &Loader) -> String {
    loader
        .load::<Sample>()
        .expect_err("a faulty configuration was taken")
        .to_string()
}

#[test]
fn without_layers_the_defaults_hold() {
    let nowhere = folder(&[]);
    let loader = with_env(&[
        ("APP_CONFIG_PATH", nowhere.path().to_str().unwrap()),
        ("HOME", "/root"),
    ]);
    let loaded = loader.load::<Sample>().unwrap();
    assert_eq!(loaded.config, Sample::default());
    assert_eq!(loaded.file, None);
}

#[test]
fn each_layer_outranks_the_one_before() {
    let folder = folder(&[(
        "a.toml",
        "data = 'file'\n[gateway]\nlisten = 'file'\nsessions = 20\nverbose = true",
    )]);
    let loader = with_env(&[
        ("SLUICE_GATEWAY__LISTEN", "env"),
        ("SLUICE_GATEWAY__SESSIONS", "30"),
    ])
    .file(Some(folder.path().join("a.toml")))
    .flags([("gateway.sessions", "40")]);
    let config = load(&loader);
    assert_eq!(config.data, "file");
    assert_eq!(config.gateway.listen, "env");
    assert_eq!(config.gateway.sessions, 40);
    assert!(config.gateway.verbose);
    assert_eq!(
        config.gateway.chunk,
        ByteSize::mib(1),
        "the default of a table that the file has only in part"
    );
}

#[test]
fn the_three_formats_say_the_same() {
    let folder = folder(&[
        (
            "a.toml",
            "[gateway]\nports = [1, 2]\nchunk = '64 KiB'\ndeadline = 1500\nratio = 0.5\nnames = { Anna = 1 }",
        ),
        (
            "a.yaml",
            "gateway:\n  ports: [1, 2]\n  chunk: 64 KiB\n  deadline: 1500\n  ratio: 0.5\n  names: { Anna: 1 }\n",
        ),
        (
            "a.json",
            r#"{"gateway":{"ports":[1,2],"chunk":65536,"deadline":"1500ms","ratio":0.5,"names":{"Anna":1}}}"#,
        ),
    ]);
    for name in ["a.toml", "a.yaml", "a.json"] {
        let gateway = load(&Loader::new("SLUICE").file(Some(folder.path().join(name)))).gateway;
        assert_eq!(gateway.ports, [1, 2], "{name}");
        assert_eq!(gateway.chunk, ByteSize::kib(64), "{name}");
        assert_eq!(gateway.deadline, Millis(1500), "{name}");
        assert_eq!(gateway.ratio, Some(0.5), "{name}");
        assert_eq!(
            gateway.names,
            BTreeMap::from([("Anna".to_owned(), 1)]),
            "{name}"
        );
    }
}

#[test]
fn the_environment_says_where_the_file_is() {
    let folder = folder(&[
        ("local.toml", "data = 'local'"),
        ("production.yaml", "data: production"),
        ("other.json", r#"{"data": "other"}"#),
    ]);
    let path = folder.path().to_str().unwrap();
    for (variables, data) in [
        (&[("APP_CONFIG_PATH", path)][..], "local"),
        (
            &[("APP_CONFIG_PATH", path), ("ENV", "production")],
            "production",
        ),
        (
            &[
                ("APP_CONFIG_PATH", path),
                ("APP_CONFIG_FILENAME", "other.json"),
                ("ENV", "production"),
            ],
            "other",
        ),
        (
            &[("APP_CONFIG_PATH", path), ("APP_CONFIG_FILENAME", "other")],
            "other",
        ),
        (&[("APP_CONFIG_PATH", path), ("ENV", "staging")], "./data"),
    ] {
        assert_eq!(load(&with_env(variables)).data, data, "{variables:?}");
    }
}

#[test]
fn a_file_that_was_named_must_be_there_whole_and_alone() {
    let folder = folder(&[
        ("local.toml", ""),
        ("local.json", "{}"),
        ("broken.toml", "data = "),
        ("scalar.yaml", "gateway: 5"),
        ("odd.ini", ""),
    ]);
    let path = folder.path().to_str().unwrap();
    let named = |name: &str| Loader::new("SLUICE").file(Some(folder.path().join(name)));
    for (loader, text) in [
        (named("none.toml"), "there is no config file"),
        (
            with_env(&[
                ("APP_CONFIG_PATH", path),
                ("APP_CONFIG_FILENAME", "none.toml"),
            ]),
            "there is no config file",
        ),
        (
            with_env(&[("APP_CONFIG_PATH", path), ("APP_CONFIG_FILENAME", "none")]),
            "there is no config file",
        ),
        (with_env(&[("APP_CONFIG_PATH", path)]), "both exist"),
        (named("broken.toml"), "is malformed"),
        (named("scalar.yaml"), "`gateway` in file"),
        (
            named("odd.ini"),
            "use the extension toml, yaml, yml or json",
        ),
    ] {
        let error = refused(&loader);
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_layer_and_what_was_meant() {
    let folder = folder(&[
        ("a.toml", "[gateway]\nlisten = 'x'\nlsten = 'x'"),
        ("b.yaml", "gatewya:\n  listen: x"),
        ("c.json", r#"{"extra": {"depth": 1, "width": 2}}"#),
        ("d.toml", "listen = 'x'"),
    ]);
    let file = |name: &str| Loader::new("SLUICE").file(Some(folder.path().join(name)));
    for (loader, parts) in [
        (
            file("a.toml"),
            &[
                "unknown key `gateway.lsten` in file",
                "a.toml",
                "did you mean `gateway.listen`?",
            ][..],
        ),
        (
            file("b.yaml"),
            &[
                "unknown key `gatewya` in file",
                "b.yaml",
                "did you mean `gateway`?",
            ],
        ),
        (
            file("c.json"),
            &[
                "`extra.width` in file",
                "c.json",
                "unknown field `width`",
                "`depth`",
            ],
        ),
        (
            file("d.toml"),
            &[
                "unknown key `listen` in file",
                "did you mean `gateway.listen`?",
            ],
        ),
        (
            with_env(&[("SLUICE_GATEWAY__LISTN", "x")]),
            &[
                "unknown key `gateway.listn` in environment variable SLUICE_GATEWAY__LISTN",
                "`SLUICE_GATEWAY__LISTEN`?",
            ],
        ),
        (
            with_env(&[("SLUICE_GATEWAY_LISTEN", "x")]),
            &[
                "unknown key `gateway_listen`",
                "did you mean `SLUICE_GATEWAY__LISTEN`?",
            ],
        ),
        (
            with_env(&[("SLUICE_QQQQQQ", "x")]),
            &["unknown key `qqqqqq` in environment variable SLUICE_QQQQQQ"],
        ),
        (
            with_env(&[("SLUICE_EXTRA__WIDTH", "1")]),
            &[
                "`extra.width` in environment variable",
                "unknown field `width`",
            ],
        ),
        (
            Loader::new("SLUICE").flags([("gateway.listn", "x")]),
            &[
                "unknown key `gateway.listn` in flag gateway.listn",
                "did you mean `gateway.listen`?",
            ],
        ),
    ] {
        let error = refused(&loader);
        for part in parts {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }
    assert!(!refused(&with_env(&[("SLUICE_QQQQQQ", "x")])).contains("did you mean"));
}

#[test]
fn text_is_read_as_what_the_key_holds() {
    let config = load(&with_env(&[
        ("SLUICE_DATA", "12345"),
        ("SLUICE_GATEWAY__SESSIONS", "7"),
        ("SLUICE_GATEWAY__VERBOSE", "true"),
        ("SLUICE_GATEWAY__ORIGINS", "http://a, http://b"),
        ("SLUICE_GATEWAY__PORTS", "80,443"),
        ("SLUICE_GATEWAY__CHUNK", "262144"),
        ("SLUICE_GATEWAY__DEADLINE", "2 minutes"),
        ("SLUICE_GATEWAY__RATIO", "1"),
        ("SLUICE_GATEWAY__NAMES__ANNA", "3"),
        ("SLUICE_EXTRA__DEPTH", "9"),
    ]));
    assert_eq!(
        config.data, "12345",
        "a text stays one though it looks like a number"
    );
    assert_eq!(config.gateway.sessions, 7);
    assert!(config.gateway.verbose);
    assert_eq!(config.gateway.origins, ["http://a", "http://b"]);
    assert_eq!(config.gateway.ports, [80, 443]);
    assert_eq!(config.gateway.chunk, ByteSize::kib(256));
    assert_eq!(config.gateway.deadline, Millis::mins(2));
    assert_eq!(config.gateway.ratio, Some(1.0));
    assert_eq!(config.gateway.names["anna"], 3);
    assert_eq!(config.extra, Some(Extra { depth: 9 }));

    let lists = load(&with_env(&[
        ("SLUICE_GATEWAY__PORTS", "[1]"),
        ("SLUICE_GATEWAY__ORIGINS", ""),
    ]));
    assert_eq!(lists.gateway.ports, [1]);
    assert!(lists.gateway.origins.is_empty());
}

#[test]
fn a_value_that_does_not_fit_is_refused_with_its_key() {
    for (name, value, parts) in [
        (
            "SLUICE_GATEWAY__SESSIONS",
            "many",
            &["`gateway.sessions`", "SLUICE_GATEWAY__SESSIONS", "\"many\""][..],
        ),
        (
            "SLUICE_GATEWAY__SESSIONS",
            "-1",
            &["`gateway.sessions`", "`-1`"],
        ),
        (
            "SLUICE_GATEWAY__PORTS",
            "80,x",
            &["`gateway.ports`", "80,x"],
        ),
        ("SLUICE_GATEWAY__PORTS", "80,99999", &["`gateway.ports`"]),
        (
            "SLUICE_GATEWAY__VERBOSE",
            "maybe",
            &["`gateway.verbose`", "a boolean"],
        ),
        (
            "SLUICE_GATEWAY__CHUNK",
            "12 parsecs",
            &["`gateway.chunk`", "16 MiB"],
        ),
        (
            "SLUICE_GATEWAY__DEADLINE",
            "-5s",
            &["`gateway.deadline`", "10s"],
        ),
        ("SLUICE_GATEWAY", "x", &["`gateway`", "\"x\""]),
        ("SLUICE_DATA__X", "x", &["`data.x`"]),
    ] {
        let error = refused(&with_env(&[(name, value)]));
        for part in parts {
            assert!(
                error.contains(part),
                "{name}={value}: {part} is missing in: {error}"
            );
        }
    }
}

#[test]
fn a_secret_may_come_from_a_file() {
    let folder = folder(&[("key", "  s3cret\n")]);
    let key = folder.path().join("key");
    let key = key.to_str().unwrap();
    assert_eq!(
        load(&with_env(&[("SLUICE_SIGN__KEY_FILE", key)]))
            .sign
            .key
            .expose(),
        "s3cret"
    );

    for (variables, text) in [
        (
            &[("SLUICE_SIGN__KEY_FILE", key), ("SLUICE_SIGN__KEY", "x")][..],
            "SLUICE_SIGN__KEY and SLUICE_SIGN__KEY_FILE",
        ),
        (
            &[("SLUICE_SIGN__KEY_FILE", "/nowhere/key")],
            "cannot read /nowhere/key",
        ),
        (
            &[("SLUICE_SIGN__KYE_FILE", key)],
            "did you mean `SLUICE_SIGN__KEY`?",
        ),
    ] {
        let error = refused(&with_env(variables));
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn a_key_that_ends_in_file_is_no_reference_to_one() {
    let config = load(&with_env(&[("SLUICE_GATEWAY__CERT_FILE", "/etc/cert.pem")]));
    assert_eq!(config.gateway.cert_file, "/etc/cert.pem");
}

#[test]
fn reserved_variables_are_left_alone() {
    let loader = with_env(&[("SLUICE_SERVER", "http://localhost"), ("SLUICE_DATA", "x")])
        .reserved(["SLUICE_SERVER"]);
    assert_eq!(load(&loader).data, "x");
}

#[test]
fn secrets_are_shown_nowhere() {
    let mut config = Sample::default();
    assert!(
        render(&config).unwrap().contains("key = \"\""),
        "an unset secret is seen to be unset"
    );
    config.sign.key = "s3cret".into();
    let rendered = render(&config).unwrap();
    assert!(rendered.contains("key = \"[redacted]\""), "{rendered}");
    assert!(
        rendered.contains("chunk = \"1 MiB\"") && rendered.contains("deadline = \"10s\""),
        "{rendered}"
    );
    assert!(!format!("{config:?}{rendered}").contains("s3cret"));

    let folder = folder(&[("shown.toml", &rendered)]);
    let error = refused(&Loader::new("SLUICE").file(Some(folder.path().join("shown.toml"))));
    assert!(
        error.contains("`sign.key`") && error.contains("set the secret itself"),
        "{error}"
    );
}

#[test]
fn what_is_rendered_can_be_loaded() {
    let config = Sample {
        extra: Some(Extra { depth: 3 }),
        ..Sample::default()
    };
    let folder = folder(&[("shown.toml", &render(&config).unwrap())]);
    assert_eq!(
        load(&Loader::new("SLUICE").file(Some(folder.path().join("shown.toml")))),
        config
    );
}
