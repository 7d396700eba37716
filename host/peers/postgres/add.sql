\set k random(1, :keys)
INSERT INTO counter VALUES (:k, 1) ON CONFLICT (id) DO UPDATE SET count = counter.count + 1 RETURNING count;
