//! One page in a headless Chromium, driven by the DevTools protocol over a pipe: keys and text go in as a
//! person's would, scripts look at what came of it, and what the page did wrong or asked for is noted. It needs no driver
//! beside the browser. Invariant: the browser ends with the test, and what it kept with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::PATIENCE;

const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const SETTINGS: [&str; 10] = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser that is on this machine, when there is one.
pub(crate) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let candidates = NAMES.iter().flat_map(|name| folders.iter().map(move |dir| dir.join(name)));
    candidates.into_iter().find(|path| path.is_file())
}

/// A browser with one page open.
pub(crate) struct Page {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Value,
    last: u64,
    /// What the page did wrong: errors in its scripts and on its console, and what its policy forbade.
    trouble: Vec<String>,
    /// The addresses that it asked for.
    requests: Vec<String>,
    _profile: TempDir,
}

impl Page {
    /// Starts `browser` and opens `url` in it.
    pub(crate) async fn open(browser: &Path, url: &str) -> Self {
        let profile = tempfile::tempdir().expect("a scratch folder");
        // It reads commands from descriptor 3 and answers on 4.
        let script = "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(browser)
            .args(SETTINGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the browser starts");
        let to = child.stdin.take().expect("stdin");
        let from = BufReader::new(child.stdout.take().expect("stdout"));
        let session = Value::Null;
        let (trouble, requests) = (vec![], vec![]);
        let mut page =
            Self { child, to, from, session, last: 0, trouble, requests, _profile: profile };
        let target = page.ask("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        page.session = page.ask("Target.attachToTarget", attach).await["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.ask(&format!("{domain}.enable"), json!({})).await;
        }
        page.go(url).await;
        page
    }

    /// Opens another address.
    pub(crate) async fn go(&mut self, url: &str) {
        let went = self.ask("Page.navigate", json!({"url": url})).await;
        assert!(went["errorText"].is_null(), "{url}: {went}");
    }

    /// What the script's value is, as soon as there is one; `script` is an expression.
    pub(crate) async fn wait_for(&mut self, script: &str) -> Value {
        let patience = PATIENCE.as_millis();
        let script = format!(
            "(async () => {{ const look = () => {{ try {{ return {script} }} catch {{}} }};\n\
             for (const end = Date.now() + {patience}; Date.now() < end;) {{ const found = look();\n\
             if (found) return found; await new Promise((turn) => setTimeout(turn, 20)); }}\n\
             throw new Error(document.body.innerText); }})()"
        );
        let what = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        let answer = self.ask("Runtime.evaluate", what).await;
        assert!(answer["exceptionDetails"].is_null(), "{script}: {answer:#}");
        answer["result"]["value"].clone()
    }

    /// Types into what has the focus.
    pub(crate) async fn write(&mut self, text: &str) {
        self.ask("Input.insertText", json!({"text": text})).await;
    }

    /// Presses a key: a letter or sign, or `Enter`, `Tab`, `Escape`, `Space`.
    pub(crate) async fn press(&mut self, name: &str) {
        let (key, code, text) = match name {
            "Enter" => ("Enter", 13, "\r"),
            "Tab" => ("Tab", 9, ""),
            "Escape" => ("Escape", 27, ""),
            "Space" => (" ", 32, " "),
            sign => (sign, 0, sign),
        };
        let event = |kind: &str| {
            json!({"type": kind, "key": key, "code": name, "text": text,
                   "windowsVirtualKeyCode": code})
        };
        self.ask("Input.dispatchKeyEvent", event("keyDown")).await;
        self.ask("Input.dispatchKeyEvent", event("keyUp")).await;
    }

    /// What the page did wrong since it was opened.
    pub(crate) fn trouble(&self) -> &[String] {
        &self.trouble
    }

    /// Every address that it asked for.
    pub(crate) fn requests(&self) -> &[String] {
        &self.requests
    }

    /// Says that the person prefers `light` or `dark`.
    pub(crate) async fn prefer(&mut self, scheme: &str) {
        let preferred = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("Emulation.setEmulatedMedia", json!({"features": preferred})).await;
    }

    /// Gives the page the width of a phone.
    pub(crate) async fn narrow(&mut self) {
        let phone = json!({"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": true});
        self.ask("Emulation.setDeviceMetricsOverride", phone).await;
    }

    /// Gives it back the width of a desk.
    pub(crate) async fn wide(&mut self) {
        self.ask("Emulation.clearDeviceMetricsOverride", json!({})).await;
    }

    /// Ends the browser.
    pub(crate) async fn close(mut self) {
        self.session = Value::Null;
        self.ask("Browser.close", json!({})).await;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("the browser ends").expect("its status");
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": params});
        if !self.session.is_null() {
            command["sessionId"] = self.session.clone();
        }
        let line = format!("{command}\0");
        self.to.write_all(line.as_bytes()).await.expect("the browser listens");
        let answer = tokio::time::timeout(PATIENCE * 2, self.answer());
        let answer = answer.await.unwrap_or_else(|_| panic!("no answer to {method}"));
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    async fn answer(&mut self) -> Value {
        loop {
            let mut line = Vec::new();
            let read = self.from.read_until(0, &mut line).await.expect("the browser speaks");
            assert!(read > 0, "the browser ended");
            let message: Value = serde_json::from_slice(&line[..read - 1]).expect("JSON");
            if message["id"] == self.last {
                return message;
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let (what, params) = (event["method"].as_str().unwrap_or_default(), &event["params"]);
        match what {
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str().expect("an address");
                self.requests.push(url.to_owned());
            }
            "Runtime.exceptionThrown" => self.trouble.push(params.to_string()),
            "Runtime.consoleAPICalled" if params["type"] == "error" => {
                self.trouble.push(params.to_string());
            }
            // A refused request is the page's to show, and no error of its own.
            "Log.entryAdded"
                if params["entry"]["level"] == "error"
                    && params["entry"]["source"] != "network" =>
            {
                self.trouble.push(params.to_string());
            }
            _ => {}
        }
    }
}
