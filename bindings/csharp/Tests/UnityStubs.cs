// What OneStepTexture.cs uses of UnityEngine, by name and signature alone, so that a compiler can check the script where
// there is no Unity. A compile check and nothing more: none of this runs, and what it says of Unity is from its manual.
using System;

namespace UnityEngine
{
    public class Object
    {
        public static void Destroy(Object target) { throw new NotSupportedException(); }
    }

    public class Component : Object
    {
        public T GetComponent<T>() { throw new NotSupportedException(); }
    }

    public class MonoBehaviour : Component { }

    public class Renderer : Component
    {
        public Material material { get; set; }
    }

    public class Material : Object
    {
        public Texture mainTexture { get; set; }
    }

    public class Texture : Object
    {
        public FilterMode filterMode { get; set; }
    }

    public sealed class Texture2D : Texture
    {
        public Texture2D(int width, int height, TextureFormat textureFormat, bool mipChain) { throw new NotSupportedException(); }
        public void LoadRawTextureData(byte[] data) { throw new NotSupportedException(); }
        public void Apply(bool updateMipmaps) { throw new NotSupportedException(); }
    }

    public enum TextureFormat { RGBA32 = 4 }

    public enum FilterMode { Point = 0 }

    public static class Application
    {
        public static string streamingAssetsPath { get { throw new NotSupportedException(); } }
    }

    public static class Debug
    {
        public static void LogException(Exception exception) { throw new NotSupportedException(); }
    }

    [AttributeUsage(AttributeTargets.Field)]
    public sealed class SerializeField : Attribute { }

    [AttributeUsage(AttributeTargets.Field)]
    public sealed class TooltipAttribute : Attribute
    {
        public TooltipAttribute(string tooltip) { }
    }

    [AttributeUsage(AttributeTargets.Class)]
    public sealed class RequireComponent : Attribute
    {
        public RequireComponent(Type requiredComponent) { }
    }
}
