-- These rows are five people, their follows, three posts, a comment and a like. The rows arrive in the first snapshot. The dates of the posts are
-- relative to now, because a feed reaches back 72 hours.
INSERT INTO users (id, email, username, password_hash)
SELECT ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, 'user' || i || '@example.com', 'user_' || i, 'not-a-hash'
FROM generate_series(1, 5) AS i;

INSERT INTO follows (id, follower_id, following_id) VALUES
    ('10000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002'),
    ('10000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000003'),
    ('10000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000004'),
    ('10000000-0000-4000-8000-000000000004', '00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000004');

INSERT INTO posts (id, user_id, caption, image_key, image_sizes, status, created_at, updated_at) VALUES
    ('20000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002', 'first light', 'img/1.jpg',
     '{"w": 1080, "h": 720}', 'published', now() - interval '2 hours', now() - interval '2 hours'),
    ('20000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000003', NULL, 'img/2.jpg',
     NULL, 'published', now() - interval '1 hour', now() - interval '1 hour'),
    ('20000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000003', 'not shown: still pending', 'img/3.jpg',
     NULL, 'pending', now(), now());

-- The seed has one comment and one like, so that every topic exists from the first snapshot on.
INSERT INTO comments (id, post_id, user_id, content) VALUES
    ('40000000-0000-4000-8000-000000000001', '20000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000004', 'where is this?');
INSERT INTO likes (id, user_id, post_id) VALUES
    ('30000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000004', '20000000-0000-4000-8000-000000000001');
