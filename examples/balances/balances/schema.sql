-- Accounts and what is posted to them. A balance is nowhere written down: it is the sum of an account's postings, so it is
-- always right, and costs the more the longer the account lives. That is what the cache is for.
CREATE TABLE IF NOT EXISTS account (
  id       text PRIMARY KEY,
  patient  text NOT NULL,
  currency text NOT NULL DEFAULT 'EUR'
);

CREATE TABLE IF NOT EXISTS posting (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id text NOT NULL REFERENCES account (id),
  cents      bigint NOT NULL,
  what       text NOT NULL,
  posted_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS posting_by_account ON posting (account_id) INCLUDE (cents, posted_at);
