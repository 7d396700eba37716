\set k random(1, :keys)
SELECT count FROM counter WHERE id = :k;
