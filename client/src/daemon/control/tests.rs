use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::daemon::core::tests::summary;
use crate::daemon::live::Live;
use crate::progress::{During, Monitor, Note, Problem};

/// A daemon that does whatever it is asked, if it is about the set `a`.
fn serve(path: &Path) -> (Server, Arc<Live>) {
    let live = Arc::new(Live::default());
    let post = |ask: Ask| {
        let Some((request, reply)) = ask.take() else {
            return true;
        };
        let answer = match request {
            Request::Run { set } if set == "a" => Answer::Done { sets: vec![set] },
            Request::Run { .. } => Answer::Refused(Trouble::new(2, "no such set")),
            _ => Answer::Done { sets: Vec::new() },
        };
        reply.send(answer).is_ok()
    };
    let server = Server::start(path, Arc::clone(&live), post).unwrap();
    (server, live)
}

fn call(path: &Path, request: &Request) -> Result<Call, CallError> {
    Call::send(&[path.to_path_buf()], request)
}

fn run(set: &str) -> Request {
    Request::Run { set: set.to_owned() }
}

fn raw(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    // The other side may close before it has read it all.
    stream.write_all(bytes).ok();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok();
    line
}

#[test]
fn requests_have_one_form() {
    for (request, text) in [
        (Request::Status, r#"{"do":"status"}"#),
        (Request::Pause { seconds: 7200 }, r#"{"do":"pause","seconds":7200}"#),
        (Request::Now { set: None, full: false }, r#"{"do":"now","set":null,"full":false}"#),
        (run("a"), r#"{"do":"run","set":"a"}"#),
        (Request::Lifted { snapshots: None }, r#"{"do":"lifted","snapshots":null}"#),
        (Request::Why { path: "/x".into() }, r#"{"do":"why","path":"/x"}"#),
    ] {
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
        assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
    }
}

#[test]
fn requests_are_read_strictly() {
    for request in [
        r#"{"do":"status"}"#,
        r#"{"do":"now","set":"a"}"#,
        r#"{"do":"now","set":null,"full":true}"#,
        r#" {"seconds" : 1, "do":"make_way"} "#,
    ] {
        assert!(Request::read(request.as_bytes()).is_ok(), "{request}");
    }
    for (request, why) in [
        (r#"{"do":"status","x":1}"#, "unknown field `x`"),
        (r#"{"do":"resume","set":"a"}"#, "unknown field `set`"),
        (r#"{"do":"reload","":null}"#, "unknown field ``"),
        (r#"{"do":"progress","do ":1}"#, "unknown field `do `"),
        (r#"{"do":"pause","seconds":1,"x":1}"#, "unknown field `x`"),
        (r#"{"do":"pause"}"#, "missing field `seconds`"),
        (r#"{"do":"fly"}"#, "unknown variant `fly`"),
        (r#"["status"]"#, "invalid type"),
        (r#"{"do":"status"}{}"#, "trailing characters"),
        ("", "EOF"),
    ] {
        let refused = Request::read(request.as_bytes()).unwrap_err();
        assert!(refused.contains(why), "{request} {refused}");
    }
}

/// Asks that nobody has taken yet.
fn heap(path: &Path) -> (Server, crossbeam_channel::Receiver<Ask>) {
    let (post, asks) = crossbeam_channel::unbounded();
    let post = move |ask| post.send(ask).is_ok();
    (Server::start(path, Arc::new(Live::default()), post).unwrap(), asks)
}

#[test]
fn what_nobody_waits_for_any_more_is_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("private/x.sock");
    let (_server, asks) = heap(&path);
    let gone = call(&path, &Request::Pause { seconds: 7 }).unwrap();
    let ask = asks.recv().unwrap();
    drop(gone);
    assert_eq!(ask.take().map(|(request, _)| request), None);
    // One that has said all it had to say, and listens, is there.
    let mut half = UnixStream::connect(&path).unwrap();
    half.write_all(b"{\"do\":\"resume\"}").unwrap();
    half.shutdown(std::net::Shutdown::Write).unwrap();
    let (request, reply) = asks.recv().unwrap().take().unwrap();
    assert_eq!(request, Request::Resume);
    reply.send(Answer::Done { sets: Vec::new() }).unwrap();
    let mut told = String::new();
    half.read_to_string(&mut told).unwrap();
    assert!(told.ends_with("{\"is\":\"done\",\"sets\":[]}\n"), "{told}");
}

#[test]
fn a_request_is_either_done_or_given_up() {
    let turn = server::Turn::default();
    assert!(turn.is_mine());
    assert!(!turn.is_mine(), "whoever comes second");
}

#[test]
fn silence_is_told_from_work() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("private/x.sock");
    // It takes requests, and says nothing: a daemon that was stopped.
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let patience = std::time::Duration::from_millis(50);
    let ask = |path: &Path| {
        let stream = UnixStream::connect(path).unwrap();
        Call::over(stream, path, (&Request::Status, patience)).unwrap().only()
    };
    let error = ask(&path).unwrap_err();
    let process = if cfg!(target_os = "linux") { Some(std::process::id()) } else { None };
    assert!(matches!(error, CallError::Silent { process: p, .. } if p == process), "{error}");
    assert!(error.to_string().ends_with("has not answered for 0 s"), "{error}");
    drop(silent);
    std::fs::set_permissions(path.parent().unwrap(), PermissionsExt::from_mode(0o700)).unwrap();
    // One that does something else first says so, and is waited for.
    let (_server, asks) = heap(&path);
    let mut waits = call(&path, &Request::Status).unwrap();
    assert_eq!(waits.answer().unwrap(), Some(Answer::Waiting));
    let (_, reply) = asks.recv().unwrap().take().unwrap();
    reply.send(Answer::Done { sets: Vec::new() }).unwrap();
    assert_eq!(waits.only().unwrap(), Answer::Done { sets: Vec::new() });
}

#[test]
fn one_that_ends_before_it_answers_is_not_running() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sock");
    let patience = std::time::Duration::from_secs(5);
    let over = |path: &Path| {
        let stream = UnixStream::connect(path).unwrap();
        Call::over(stream, path, (&Request::Status, patience)).unwrap()
    };
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let refused = over(&path);
    drop(listener.accept().unwrap());
    let error = refused.only().unwrap_err();
    assert!(!matches!(error, CallError::NotRunning), "somebody listens: {error}");
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let hung_up = over(&path);
    drop(listener.accept().unwrap());
    let waiting = over(&path);
    drop(listener);
    for call in [hung_up, waiting] {
        let error = call.only().unwrap_err();
        assert!(matches!(error, CallError::NotRunning), "{error}");
    }
}

/// As many wait as may: nobody is taken in, and nobody waits for that without end.
#[cfg(target_os = "linux")]
#[test]
fn a_full_waiting_room_is_silence_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sock");
    let silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    rustix::net::listen(&silent, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let patience = std::time::Duration::from_millis(50);
    let error = Call::send_within(&[path], &Request::Status, patience).unwrap_err();
    assert!(matches!(error, CallError::Silent { process: None, waited } if waited == patience));
}

#[test]
fn a_run_is_followed_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("private/x.sock");
    let (_server, live) = serve(&path);
    // One that began before is not meant.
    let earlier = live.begin("a");
    let mut call = call(&path, &run("a")).unwrap();
    assert_eq!(call.answer().unwrap(), Some(Answer::Done { sets: vec!["a".to_owned()] }));
    live.end(&earlier, Err(Trouble::new(1, "earlier")));
    let other = live.begin("b");
    live.end(&other, Ok(summary(None)));
    let meant = live.begin("a");
    let Some(Answer::Begun { run: number, set }) = call.answer().unwrap() else {
        panic!("it has not begun")
    };
    assert_eq!((number, set.as_str()), (3, "a"));
    meant.bytes_read(7);
    meant.note(&Note::warning("mind the gap"));
    let what = "permission denied".to_owned();
    meant.problem(&Problem { path: b"/a/x".to_vec(), during: During::Archival, what });
    live.end(&meant, Ok(summary(None)));
    let mut answers = Vec::new();
    while let Some(answer) = call.answer().unwrap() {
        answers.push(answer);
    }
    let has = |wanted: &dyn Fn(&Answer) -> bool| answers.iter().any(wanted);
    assert!(has(&|a| matches!(a, Answer::Note { warning: true, .. })), "{answers:?}");
    assert!(has(&|a| matches!(a, Answer::Problem { path, .. } if path == "/a/x")));
    assert!(has(&|a| matches!(a, Answer::Progress { counts, .. } if counts.read == 7)));
    let last = Answer::Ended { run: 3, set: "a".to_owned(), result: Box::new(Ok(summary(None))) };
    assert_eq!(answers.last(), Some(&last));
}

#[test]
fn what_is_refused_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("private/x.sock");
    let nobody = call(&path, &Request::Status).unwrap_err();
    assert!(matches!(nobody, CallError::NotRunning), "{nobody}");
    let (server, live) = serve(&path);
    let error = call(&path, &run("b")).unwrap().only().unwrap_err();
    assert!(matches!(error, CallError::Refused(trouble) if trouble.code == 2));
    assert!(raw(&path, b"nonsense\n").contains("does not understand"));
    assert!(raw(&path, b"{\"do\":\"fly\"}\n").contains("does not understand"));
    assert!(raw(&path, &vec![b'x'; 100 * 1024]).contains("too long"));
    // Whoever waits when it ends hears so.
    let mut waiting = call(&path, &run("a")).unwrap();
    assert!(matches!(waiting.answer().unwrap(), Some(Answer::Done { .. })));
    live.close();
    assert!(matches!(waiting.answer().unwrap_err(), CallError::Refused(t) if t.code == 130));
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_crowd_of_silent_clients_is_borne() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("private/x.sock");
    let (_server, _live) = serve(&path);
    let mut silent: Vec<UnixStream> =
        (0..MAX_CLIENTS).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let error = call(&path, &Request::Resume).unwrap().only().unwrap_err();
    assert!(matches!(error, CallError::Refused(trouble) if trouble.code == Trouble::BUSY));
    // One of them goes, and there is room again.
    let mut gone = silent.pop().unwrap();
    gone.shutdown(std::net::Shutdown::Write).unwrap();
    gone.read_to_end(&mut Vec::new()).unwrap();
    let answer = loop {
        // Its thread may need a moment to end.
        match call(&path, &Request::Resume).unwrap().only() {
            Err(CallError::Refused(trouble)) if trouble.code == Trouble::BUSY => {}
            answer => break answer.unwrap(),
        }
    };
    assert_eq!(answer, Answer::Done { sets: Vec::new() });
}

#[test]
fn the_socket_is_private_and_replaces_what_is_left_of_another() {
    let dir = tempfile::tempdir().unwrap();
    // Too long for the address of a socket.
    let path = dir.path().join("long".repeat(30)).join("x.sock");
    let (server, _live) = serve(&path);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert!(call(&path, &Request::Resume).unwrap().only().is_ok());
    drop(server);
    // As a process leaves it that was killed.
    let path = path.with_file_name("y.sock");
    let short = dir.path().join("short");
    drop(std::os::unix::net::UnixListener::bind(&short).unwrap());
    std::fs::rename(&short, &path).unwrap();
    assert!(matches!(call(&path, &Request::Status).unwrap_err(), CallError::NotRunning));
    let (_server, _live) = serve(&path);
    assert!(call(&path, &Request::Resume).unwrap().only().is_ok());
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let open = dir.path().join("x.sock");
    let refused = Server::start(&open, Arc::new(Live::default()), |_| true);
    assert!(refused.unwrap_err().to_string().contains("chmod 700"));
}

/// As who cleans up a runtime folder does.
#[test]
fn a_socket_that_was_removed_is_noticed_and_another_ones_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/x.sock");
    let (server, _live) = serve(&path);
    assert!(server.is_there());
    std::fs::remove_file(&path).unwrap();
    assert!(!server.is_there());
    let (next, _live) = serve(&path);
    assert!(next.is_there() && !server.is_there());
    drop(server);
    assert!(call(&path, &Request::Resume).unwrap().only().is_ok());
}

/// Whoever is not reached where one looks may be there all the same: its lock tells.
#[test]
fn a_daemon_that_cannot_be_reached_runs_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/d.sock");
    let to = || Call::to_daemon(dir.path(), std::slice::from_ref(&path), &Request::Status);
    assert!(matches!(to().unwrap_err(), CallError::NotRunning));
    let lock = crate::daemon::lock::take(dir.path()).unwrap();
    let out = to().unwrap_err();
    assert!(matches!(&out, CallError::OutOfReach { path: at, source: None } if *at == path));
    assert!(out.to_string().contains("runs, but its socket cannot be reached at"), "{out}");
    note(dir.path(), Path::new("/elsewhere/d.sock")).unwrap();
    let out = to().unwrap_err();
    assert!(
        matches!(out, CallError::OutOfReach { path, .. } if path == Path::new("/elsewhere/d.sock"))
    );
    let (_server, _live) = serve(&path);
    assert!(to().is_ok());
    drop(lock);
}
