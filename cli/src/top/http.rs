//! One GET over plain HTTP/1.1, bounded in time and size.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// More than any service tells.
const MOST_BYTES: usize = 32 << 20;

/// What is asked where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    path: String,
}

impl Target {
    /// # Errors
    ///
    /// What is wrong with the URL. It isn't quoted: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let rest = match url.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err("only http:// is spoken; the metrics of a service are asked from beside it".into()),
            None => url,
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(
                "a URL with a user and password isn't taken: others can see what a command is called with".into()
            );
        }
        let wrong = || "the URL isn't http://HOST[:PORT][/PATH]".to_owned();
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let is_clean = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !is_clean(host) || !is_clean(path) {
            return Err(wrong());
        }
        let port = port.map_or(Ok(80), str::parse).map_err(|_| wrong())?;
        let path = if path.len() > 1 { path } else { "/metrics" };
        Ok(Self { host: host.to_owned(), port, path: path.to_owned() })
    }

    fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

/// The body of the answer.
///
/// # Errors
///
/// What went wrong, where there is none within `patience` (the name of a host may take longer).
pub(super) fn get(target: &Target, patience: Duration) -> Result<String, String> {
    let answer = exchange(target, patience).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("no answer within {patience:?}"),
        _ => error.to_string(),
    })?;
    body(&answer)
}

fn exchange(target: &Target, patience: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + patience;
    let left = || Some(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
    let mut stream = connect(target, left)?;
    stream.set_write_timeout(left())?;
    let head = format!("GET {} HTTP/1.1\r\nhost: {}\r\n", target.path, target.authority());
    stream.write_all(format!("{head}accept: text/plain\r\nconnection: close\r\n\r\n").as_bytes())?;
    let (mut answer, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(left())?;
        match stream.read(&mut piece)? {
            0 => return Ok(answer),
            read => answer.extend_from_slice(&piece[..read]),
        }
        // One that keeps the connection open all the same.
        if is_whole(&answer) {
            return Ok(answer);
        }
        if answer.len() > MOST_BYTES {
            return Err(io::Error::other(format!("the answer is longer than {} MiB", MOST_BYTES >> 20)));
        }
    }
}

fn connect(target: &Target, left: impl Fn() -> Option<Duration>) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the host has no address");
    for address in (target.host.as_str(), target.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left().unwrap_or_default()) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The head of an answer, and what follows.
fn parts(answer: &[u8]) -> Option<(String, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((String::from_utf8_lossy(&answer[..end]).into_owned(), &answer[end + 4..]))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Whether as much has come as the head says, if it says.
fn is_whole(answer: &[u8]) -> bool {
    let Some((head, body)) = parts(answer) else { return false };
    match header(&head, "content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => is_chunked(&head) && body.ends_with(b"0\r\n\r\n"),
    }
}

fn is_chunked(head: &str) -> bool {
    header(head, "transfer-encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked"))
}

fn body(answer: &[u8]) -> Result<String, String> {
    let (head, body) = parts(answer).ok_or("the answer isn't one of HTTP")?;
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).unwrap_or_default();
    if status != "200" {
        let status = crate::output::one_line(head.lines().next().unwrap_or_default());
        return Err(format!("it answers {}", status.chars().take(100).collect::<String>()));
    }
    let body = if is_chunked(&head) { unchunked(body).ok_or("the answer ends too soon")? } else { body.to_vec() };
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_host_and_perhaps_a_port_and_a_path() {
        let shown = |url: &str| Target::parse(url).map(|target| target.to_string());
        for (url, meant) in [
            ("http://localhost:3000", "http://localhost:3000/metrics"),
            ("http://localhost:3000/", "http://localhost:3000/metrics"),
            ("localhost:3000", "http://localhost:3000/metrics"),
            ("http://a.example/m?x=1", "http://a.example:80/m?x=1"),
            ("http://[::1]:9/m", "http://[::1]:9/m"),
            ("http://[::1]", "http://[::1]:80/metrics"),
        ] {
            assert_eq!(shown(url).as_deref(), Ok(meant), "{url}");
        }
        for wrong in [
            "https://a",
            "http://",
            "http://a:b",
            "http://a:70000",
            "http://[::1]x",
            "http://a/ b",
            "http://me:hunter2@a",
            "ftp://a",
        ] {
            let problem = shown(wrong).expect_err(wrong);
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn a_body_is_read_however_it_is_framed() {
        let ok = |rest: &str| body(format!("HTTP/1.1 200 OK\r\n{rest}").as_bytes());
        assert_eq!(ok("\r\nab").as_deref(), Ok("ab"));
        assert_eq!(ok("Transfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n1\r\nc\r\n0\r\n\r\n").as_deref(), Ok("abc"));
        assert_eq!(ok("transfer-encoding: chunked\r\n\r\n5\r\nab").unwrap_err(), "the answer ends too soon");
        assert!(is_whole(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab"));
        assert_eq!(body(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap_err(), "it answers HTTP/1.1 404 Not Found");
        assert!(body(b"\r\n\r\n").is_err());
        assert!(body(b"SSH-2.0").is_err());
    }
}
