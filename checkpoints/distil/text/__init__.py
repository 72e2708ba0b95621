"""Training text: documents out of Debian packages, chats that a program writes, replies of the teacher."""
