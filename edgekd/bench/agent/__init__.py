"""What runs on the board: `python agent.pyz spec.json result.json`, or detached from whoever asks, see commands.py.
Python 3.8, numpy and onnxruntime suffice.

It takes raw times, watches the board meanwhile, and says what it is like; asked with `probe` it says only that, and
with `restore` it puts back what a cut measurement left tuned. Everything that is a judgement happens elsewhere.

The result is written whole or not at all. A failure that was to be expected ends in {"error": {"kind", "message"}} and
exit status 3, so that the other side can say it in its own words; every other failure is a bug and shows its traceback.

One agent at a time works in a workspace, its current folder: it locks the file LOCK there before it loads anything, as
long as it works. Agents in different workspaces of one board, or on a system without flock, do not see each other.

This folder is sent as one file (packed.py in the folder above), so its modules import nothing but the standard library
and each other, relatively.

Kinds of errors: spec, busy (another agent works there), missing (a module), model, shape, input, memory, runtime.
"""
