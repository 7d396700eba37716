// A Durable Object that does what the bench guest does, each in one SQL statement:
// POST /{key} adds the number in the body, GET /{key} reads; both answer with the count.
import { DurableObject } from "cloudflare:workers";

export class Counter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY, count INTEGER)");
  }

  add(by) {
    return this.ctx.storage.sql.exec(
      "INSERT INTO counter VALUES (0, ?) ON CONFLICT (id) DO UPDATE SET count = count + excluded.count RETURNING count",
      by).one().count;
  }

  read() {
    return this.ctx.storage.sql.exec("SELECT coalesce(sum(count), 0) AS count FROM counter").one().count;
  }
}

export default {
  async fetch(request, env) {
    const key = new URL(request.url).pathname.slice(1);
    const counter = env.COUNTER.get(env.COUNTER.idFromName(key));
    const count = request.method === "POST" ? counter.add(Number(await request.text())) : counter.read();
    return new Response(String(await count));
  },
};
