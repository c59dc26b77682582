-- One task: it belongs to its transaction and sees what that committed.

SET search_path = shop;
\set ECHO queries
BEGIN;
INSERT INTO customers (name, email) VALUES ('Nora Nobody', 'nora@example.org');
SELECT asynctasq.dispatch('send_welcome_mail', asynctasq.args('customer', c)) AS id
FROM customers AS c WHERE email = 'nora@example.org' \gset
UPDATE customers SET name = 'Nora Novak' WHERE email = 'nora@example.org';
COMMIT;
\set ECHO none
SELECT asynctasq.wait(:id) \gset
\echo
\echo The mail, written by a worker whose session user is the role of the handler. It has the
\echo name that was committed, not the one that the row had when the task was dispatched:
\echo
SELECT recipient, subject, written_by FROM mail ORDER BY id DESC LIMIT 1;
SELECT demo.expect(count(*) = 1, 'one welcome mail with the committed name')
FROM mail WHERE subject = 'Welcome, Nora Novak' AND written_by = 'shop' \gset

\set ECHO queries
BEGIN;
INSERT INTO customers (name, email) VALUES ('Otto Off', 'otto@example.org');
SELECT asynctasq.dispatch('send_welcome_mail', asynctasq.args('customer', c)) AS id
FROM customers AS c WHERE email = 'otto@example.org' \gset
ROLLBACK;
\set ECHO none
SELECT asynctasq.task_info(:id) IS NULL AS gone \gset
SELECT demo.expect(:'gone', 'no task after a rollback') \gset
\echo
\echo Rolled back: there is no task.
