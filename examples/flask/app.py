"""A Flask application, as it would run anywhere: it listens on all addresses, port 9000."""

from flask import Flask, request

app = Flask(__name__)
notes = []


@app.get("/")
def index():
    return {"notes": notes}


@app.post("/notes")
def add():
    notes.append(request.get_json()["text"])
    app.logger.info("%d notes", len(notes))
    return {"notes": notes}, 201


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=9000)
