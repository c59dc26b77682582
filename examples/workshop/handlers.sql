-- The handlers of both programs; what they take and load is the same wherever
-- the tables are.

SET search_path = workshop;
CREATE TABLE log (n int GENERATED ALWAYS AS IDENTITY, line text);

-- An order comes as a row; its customer is loaded when it is wanted, and only then.
CREATE FUNCTION confirm("order" orders, customer asynctasq.msgpack) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF "order".ordered_on >= '2026-03-01' THEN
        INSERT INTO workshop.log (line) VALUES (format('order %s of %s is confirmed',
            "order".id, asynctasq.fetch(customer) ->> 'name'));
    END IF;
END $$;

-- All items of an order, as rows: one query for them all.
CREATE FUNCTION pick(items items[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO workshop.log (line)
    SELECT 'picked ' || string_agg(i.description, ', ' ORDER BY i.id) FROM unnest(items) AS i
$$;

SELECT asynctasq.register_handler('confirm', 'confirm(orders, asynctasq.msgpack)') \gset
SELECT asynctasq.register_handler('pick', 'pick(items[])') \gset
