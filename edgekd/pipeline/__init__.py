"""The steps in order: teacher, size, distill, export, bench, gate, report. Every arrow between them is a file."""
