using System;
using System.Text;

namespace OneStep
{
    /// <summary>Strings as C has them. By hand, since what the runtimes' own marshalling takes for UTF-8 differs.</summary>
    internal static unsafe class Utf8
    {
        /// <summary>NUL-terminated. A NUL inside would cut the string short unseen, so it is refused.</summary>
        public static byte[] Bytes(string text, string argument)
        {
            if (text == null) throw new ArgumentNullException(argument);
            if (text.IndexOf('\0') >= 0) throw new ArgumentException("a NUL character inside a string", argument);
            var bytes = new byte[Encoding.UTF8.GetByteCount(text) + 1];
            Encoding.UTF8.GetBytes(text, 0, text.Length, bytes, 0);
            return bytes;
        }

        public static string Text(byte* text)
        {
            int length = 0;
            while (text[length] != 0) length++;
            return Encoding.UTF8.GetString(text, length);
        }
    }
}
