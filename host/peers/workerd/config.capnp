# One worker, one class of Durable Objects with SQLite storage on disk. Durability is workerd's own.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .counter),
    (name = "objects", disk = (path = "objects", writable = true)),  # run.py gives the real path
  ],
  sockets = [(name = "http", address = "127.0.0.1:18787", http = (), service = "main")],
);

const counter :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2025-01-01",
  durableObjectNamespaces = [(className = "Counter", uniqueKey = "counter", enableSql = true)],
  durableObjectStorage = (localDisk = "objects"),
  bindings = [(name = "COUNTER", durableObjectNamespace = "Counter")],
);
