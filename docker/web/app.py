"""A page that counts its visits in postgres, and a health endpoint that is well when the table can be read."""

from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2

QUERIES = {
    "/": "WITH visit AS (INSERT INTO visits DEFAULT VALUES) SELECT count(*) + 1 FROM visits",
    "/health": "SELECT count(*) FROM visits",
}


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        query = QUERIES.get(self.path)
        if not query:
            return self.answer(404, "there is no such page")
        try:
            # By the socket in /run/postgresql, as the user that this process runs as.
            with closing(psycopg2.connect(dbname="postgres")) as database, database, database.cursor() as cursor:
                cursor.execute(query)
                self.answer(200, f"visits: {cursor.fetchone()[0]}")
        except psycopg2.Error as error:
            self.answer(503, str(error))

    def answer(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(f"{text}\n".encode())

    def log_request(self, code="-", size="-"):
        # A health check every few seconds is no news while it is good.
        if self.path != "/health" or code != 200:
            super().log_request(code, size)


ThreadingHTTPServer(("127.0.0.1", 8000), Page).serve_forever()
