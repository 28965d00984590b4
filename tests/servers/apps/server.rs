// The app of Rust, with its standard library alone. The file `behaviour` of its release says what is wrong with it; see
// tests/servers/server.py. A thread serves each connection, and closes it after its response.
use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::io::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::{sleep, spawn};
use std::time::Duration;
use std::{env, fs, process};

#[repr(C)]
struct PollFd {
    fd: i32,
    events: i16,
    revents: i16,
}

// The C library, to which the standard library is linked anyway.
extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn poll(fds: *mut PollFd, count: u64, milliseconds: i32) -> i32;
    fn write(fd: i32, data: *const u8, count: usize) -> isize;
}

const SIGTERM: i32 = 15;
const POLLIN: i16 = 1;
static WAKE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn stop(_: i32) {
    unsafe { write(WAKE.load(Ordering::SeqCst), b"x".as_ptr(), 1) };
}

fn main() {
    let behaviour = fs::read_to_string("behaviour").unwrap().trim().to_string();
    match behaviour.as_str() {
        "crash" => panic!("this release crashes"),
        "late" => {
            sleep(Duration::from_secs(1));
            panic!("this release crashes late");
        }
        "hang" => sleep(Duration::from_secs(3600)),
        _ => {}
    }
    let errors = behaviour == "errors";
    let listener = unsafe { TcpListener::from_raw_fd(3) }; // the listening socket
    listener.set_nonblocking(true).unwrap();
    let (woken, wake) = UnixStream::pair().unwrap();
    WAKE.store(wake.into_raw_fd(), Ordering::SeqCst);
    unsafe { signal(SIGTERM, stop) };
    let notify = UnixDatagram::unbound().unwrap();
    notify.send_to(b"READY=1", env::var("NOTIFY_SOCKET").unwrap()).unwrap();

    let mut threads = Vec::new();
    loop {
        let mut fds = [&listener as &dyn AsRawFd, &woken].map(|each| PollFd { fd: each.as_raw_fd(), events: POLLIN, revents: 0 });
        if unsafe { poll(fds.as_mut_ptr(), 2, -1) } < 0 {
            continue; // interrupted
        }
        if fds[1].revents != 0 {
            break;
        }
        match listener.accept() {
            Ok((connection, _)) => threads.push(spawn(move || serve(connection, errors))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {} // another instance took it
            Err(error) => panic!("{}", error),
        }
        threads.retain(|thread| !thread.is_finished());
    }
    drop(listener);
    for thread in threads {
        thread.join().ok(); // requests in flight
    }
}

fn serve(connection: TcpStream, errors: bool) {
    connection.set_nonblocking(false).unwrap();
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut first = String::new();
    let mut fields = HashMap::new();
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return;
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match line.trim().split_once(':') {
            Some((name, value)) => fields.insert(name.to_lowercase(), value.trim().to_string()),
            None => break,
        };
    }
    let target = first.split(' ').nth(1).unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let number = |name: &str| env::var(name).unwrap_or_default();
    let (generation, instance) = (number("DEPLOYD_GENERATION"), number("DEPLOYD_INSTANCE"));
    let identity = format!(r#"{{"generation": {}, "instance": {}, "pid": {}}}"#, generation, instance, process::id());
    let (status, body) = match path {
        _ if errors => ("500 No", "this release answers 500\n".to_string()),
        "/slow" => {
            let seconds = query.strip_prefix("seconds=").and_then(|text| text.parse().ok()).unwrap_or(1.0);
            sleep(Duration::from_secs_f64(seconds));
            ("200 OK", identity)
        }
        "/upload" => {
            let length = fields.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                return;
            }
            ("200 OK", format!(r#"{{"received": {}}}"#, length))
        }
        "/download" => ("200 OK", "x".repeat(4_000_000)),
        _ => ("200 OK", identity),
    };
    let head = format!("HTTP/1.1 {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", status, body.len());
    let mut answer = connection;
    answer.write_all(head.as_bytes()).and_then(|_| answer.write_all(body.as_bytes())).ok();
}
