//! What lists may hold, as tables.

use std::io::Write as _;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> OsString {
        let path = self.0.path().join(name.as_ref());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(&path).unwrap().write_all(bytes).unwrap();
        path.into_os_string()
    }
}

fn expand(argument: &OsStr) -> Result<Vec<Entry>, Failure> {
    block_on(read(&[argument.to_os_string()], &[], &Stores::bare()))
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// `videos.txt:3: message` or the locator, one per entry.
fn told(entries: &[Entry]) -> Vec<String> {
    let tell = |entry: &Entry| match entry {
        Ok(item) => item.locator.shown(),
        Err(bad) => format!("{}: {}", bad.place.rsplit('/').next().unwrap(), bad.message),
    };
    entries.iter().map(tell).collect()
}

#[test]
fn a_text_list_has_comments_blank_lines_crlf_and_a_bom() {
    let folder = Folder::new();
    let list = folder.file("a.txt", b"\xef\xbb\xbfhttps://h/a.mp4\r\n\r\n  # no\r\nhttps://h/b.mp4#t=1\nhttp://h/c");
    let entries = expand(&list).unwrap();
    assert_eq!(told(&entries), ["https://h/a.mp4", "https://h/b.mp4#t=1", "http://h/c"]);
    let numbers: Vec<_> = entries.iter().map(|entry| entry.as_ref().unwrap().number).collect();
    assert_eq!(numbers, [0, 1, 2]);
}

#[test]
fn a_bad_line_is_one_message_and_the_others_go_on() {
    let cases = [
        ("no/such file.mp4", "`no/such file.mp4` is not a URL, and there is no such file"),
        ("https://", "`https://` is not a valid URL: empty host"),
        ("ftp://h/a.mp4", "`ftp:` is refused as an input; URLs begin with http:// or https://"),
        ("data:video/mp4;base64,AA", "`data:` is refused as an input; URLs begin with http:// or https://"),
        ("file:///a.mp4", "`file:///a.mp4`: give the path itself, without file://"),
        ("ytsearch:cats", "`ytsearch:` searches are refused; list the videos one by one"),
        ("gopher://h/", "`gopher://` is not a kind of input; URLs begin with http:// or https://"),
        ("/dev/null", "`/dev/null` is not a regular file"),
    ];
    for (line, message) in cases {
        let folder = Folder::new();
        let list = folder.file("v.txt", format!("https://h/1\n{line}\nhttps://h/2\n").as_bytes());
        assert_eq!(told(&expand(&list).unwrap()), ["https://h/1", &format!("v.txt:2: {message}"), "https://h/2"]);
    }
}

#[test]
fn json_lines_may_say_more() {
    let folder = Folder::new();
    let lines = r#""https://h/a"
{"url":"https://h/b","id":"b-1","title":"B","ladder":["360p","720p"],"headers":{"X-Token":"s"},"priority":-3}
{"url":"https://h/c","titel":"C"}
{"url":"https://h/d","id":"../d"}
{"url":"https://h/e","headers":{"Range":"bytes=1-"}}
{"url":"https://h/f","headers":{"X":"a\r\nY: b"}}
{"url":"https://h/g","id":7}
{"title":"none"}
{broken
"#;
    let entries = expand(&folder.file("v.jsonl", lines.as_bytes())).unwrap();
    let second = entries[1].as_ref().unwrap();
    assert_eq!(second.id.as_deref(), Some("b-1"));
    assert_eq!((second.title.as_deref(), second.ladder.as_deref()), (Some("B"), Some("360p,720p")));
    assert_eq!((second.headers["X-Token"].as_str(), second.priority), ("s", -3));
    let told = told(&entries);
    let wanted = [
        "unknown key `titel`; did you mean `title`?",
        "the id `../d` must be at most 96",
        "the header `Range` is set by the download itself",
        "the header `X` holds control characters",
        "`id` must be text: put it in quotes",
        "has no `url`",
        "not valid JSON",
    ];
    for (number, wanted) in wanted.iter().enumerate() {
        let line = &told[number + 2];
        assert!(line.starts_with(&format!("v.jsonl:{}: {wanted}", number + 3)), "{line}");
    }
}

#[test]
fn yaml_entries_know_their_lines() {
    let folder = Folder::new();
    let text = "# videos\n- https://h/a\n- url: https://h/b\n  id: b\n\n- input: https://h/c\n  prority: 1\n- 7\n";
    let entries = expand(&folder.file("v.yaml", text.as_bytes())).unwrap();
    let wanted = [
        "https://h/a",
        "https://h/b",
        "v.yaml:6: unknown key `prority`; did you mean `priority`?",
        "v.yaml:8: neither an input nor a map with `url`",
    ];
    assert_eq!(told(&entries), wanted);
    assert_eq!(expand(&folder.file("empty.yml", b"# none\n")).unwrap(), []);
    let error = expand(&folder.file("bad.yml", b"videos:\n  - https://h/a\n")).unwrap_err();
    assert!(error.what.contains("not a YAML sequence"), "{error}");
}

#[test]
fn standard_input_mixes_both_forms() {
    let stores = Stores::bare();
    let mut reader = Reader::new(&stores);
    let mut input: &[u8] = b"https://h/a\n{\"url\":\"https://h/b\",\"id\":\"b\"}\n";
    block_on(reader.lines("standard input", Form::Mixed, &mut input)).unwrap();
    assert_eq!(told(&reader.entries), ["https://h/a", "https://h/b"]);
    assert_eq!(reader.entries[1].as_ref().unwrap().id.as_deref(), Some("b"));
}

#[test]
fn what_was_named_before_is_a_bad_line() {
    let folder = Folder::new();
    let lines = "{\"url\":\"https://h/a\"}\n{\"url\":\"https://h/a#x\"}\n{\"url\":\"https://h/b\",\"id\":\"i\"}\n{\"url\":\"https://h/c\",\"id\":\"i\"}\n{\"url\":\"https://h/b\",\"id\":\"j\"}\n";
    let list = folder.file("v.jsonl", lines.as_bytes());
    let told = told(&expand(&list).unwrap());
    assert!(told[1].starts_with("v.jsonl:2: the same input as in ") && told[1].ends_with("v.jsonl:1"), "{told:?}");
    assert!(told[3].starts_with("v.jsonl:4: the id `i` is taken by "), "{told:?}");
    assert_eq!(told[4], "https://h/b");
}

#[test]
fn names_may_hold_any_bytes() {
    let folder = Folder::new();
    let long = "x".repeat(246) + ".mp4";
    let names: Vec<&[u8]> = vec![
        b"a b.mp4",
        b"it's \"q\".mp4",
        "\u{65e5}\u{672c}.mp4".as_bytes(),
        b"-rf.mp4",
        b"a%05d.mp4",
        b"\xff\xfe.mp4",
        long.as_bytes(),
    ];
    let mut list = Vec::new();
    for name in &names {
        list.extend_from_slice(folder.file(OsStr::from_bytes(name), b"x").as_bytes());
        list.push(b'\n');
    }
    let entries = expand(&folder.file("v.txt", &list)).unwrap();
    assert!(entries.iter().all(Result::is_ok), "{entries:?}");
    assert_eq!(entries.len(), names.len());
    // A newline in a name cannot stand in a text list, but everywhere else.
    let newline = folder.file("new\nline.mp4", b"x");
    assert!(expand(&newline).unwrap()[0].is_ok());
    let json = serde_json::to_vec(newline.to_str().unwrap()).unwrap();
    assert!(expand(&folder.file("v.jsonl", &json)).unwrap()[0].is_ok());
}

#[test]
fn a_folder_gives_its_videos_in_order() {
    let folder = Folder::new();
    for name in [
        "f/b.mp4",
        "f/a/z.MKV",
        "f/.hidden.mp4",
        "f/.git/x.mp4",
        "f/note.txt",
        "f/c.ts",
        "f/one/d2c0825309a1b2c3d4e5/1080p/00000.ts",
    ] {
        folder.file(name, b"x");
    }
    let path = folder.0.path().join("f");
    std::os::unix::fs::symlink(&path, path.join("a/loop")).unwrap();
    std::os::unix::fs::symlink("nowhere", path.join("gone.mp4")).unwrap();
    let entries = expand(path.as_os_str()).unwrap();
    let names: Vec<_> = told(&entries).iter().map(|shown| shown.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(names, ["z.MKV", "b.mp4", "c.ts", "gone.mp4`: No such file or directory (os error 2)"]);
    let empty = folder.0.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(told(&expand(empty.as_os_str()).unwrap())[0].ends_with("holds no video files"));
}

#[test]
fn ten_thousand_lines_are_quick() {
    let folder = Folder::new();
    let lines: Vec<_> = (0..10_000).map(|number| format!("- url: https://h/{number}.mp4\n  id: v{number}")).collect();
    let list = folder.file("v.yaml", lines.join("\n").as_bytes());
    let begun = std::time::Instant::now();
    assert_eq!(expand(&list).unwrap().iter().filter(|entry| entry.is_ok()).count(), 10_000);
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}

#[test]
fn a_missing_list_is_not_a_bad_line() {
    let error = expand(OsStr::new("no-such-list.txt")).unwrap_err();
    assert!(error.what.contains("could not read the list `no-such-list.txt`"), "{error}");
}
