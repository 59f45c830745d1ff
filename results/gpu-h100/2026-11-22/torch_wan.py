import time, torch, torch.nn as nn, torch.nn.functional as F, sys
torch.manual_seed(0); dev='cuda'
def bench(name, work, unit, f, reps=5):
    f(); f(); torch.cuda.synchronize(); best=1e9
    for _ in range(reps):
        t=time.perf_counter(); f(); torch.cuda.synchronize(); best=min(best,time.perf_counter()-t)
    print(f'{name:<44} best {best*1e3:9.3f} ms {work/best:9.2f} {unit}  mem {torch.cuda.max_memory_allocated()/2**30:.1f} GiB', flush=True); return best
def rms(x,w): 
    y=x.float(); return (y*torch.rsqrt(y.pow(2).mean(-1,keepdim=True)+1e-6)).to(x.dtype)*w
def rope(x,cos,sin): # diffusers
    x1,x2=x.unflatten(-1,(-1,2)).unbind(-1)
    o=torch.empty_like(x); o[...,0::2]=x1*cos-x2*sin; o[...,1::2]=x1*sin+x2*cos; return o.type_as(x)
class Attn(nn.Module):
    def __init__(s,d,h):
        super().__init__(); s.h=h
        for n in 'qkvo': setattr(s,n,nn.Linear(d,d))
        s.nq=nn.Parameter(torch.ones(d)); s.nk=nn.Parameter(torch.ones(d))
    def forward(s,x,ctx,rot=None):
        B,n,d=x.shape
        q,k,v=rms(s.q(x),s.nq),rms(s.k(ctx),s.nk),s.v(ctx)
        q,k,v=(t.unflatten(2,(s.h,-1)) for t in (q,k,v))
        if rot is not None: q,k=rope(q,*rot),rope(k,*rot)
        o=F.scaled_dot_product_attention(q.transpose(1,2),k.transpose(1,2),v.transpose(1,2))
        return s.o(o.transpose(1,2).flatten(2))
class Block(nn.Module):
    def __init__(s,d,h,f):
        super().__init__(); s.a=Attn(d,h); s.c=Attn(d,h); s.n3=nn.LayerNorm(d); s.f=nn.Sequential(nn.Linear(d,f),nn.GELU('tanh'),nn.Linear(f,d)); s.m=nn.Parameter(torch.randn(6,d)/d**.5); s.d=d
    def forward(s,x,e,ctx,rot):
        m=(s.m.float()+e)
        ln=lambda x: F.layer_norm(x.float(),(s.d,),eps=1e-6)
        y=s.a(y0:=(ln(x)*(1+m[1])+m[0]).type_as(x),y0,rot); x=(x.float()+y*m[2]).type_as(x)
        x=x+s.c(F.layer_norm(x.float(),(s.d,),s.n3.weight.float(),s.n3.bias.float()).type_as(x),ctx)
        y=s.f((ln(x)*(1+m[4])+m[3]).type_as(x)); return (x.float()+y.float()*m[5]).type_as(x)
@torch.no_grad()
def main():
    n=32760
    print(torch.__version__, torch.cuda.get_device_name())
    a=torch.randn(8192,8192,device=dev,dtype=torch.bfloat16); b=torch.randn_like(a)
    bench('matmul 8192^3 bf16',2*8192**3/1e12,'TFLOP/s',lambda:a@b,20); del a,b
    for name,d,h,f in (('1.3b',1536,12,8960),('14b',5120,40,13824)):
        x=torch.randn(1,n,d,device=dev,dtype=torch.bfloat16); ctx=torch.randn(1,512,d,device=dev,dtype=torch.bfloat16)
        q=torch.randn(1,h,n,d//h,device=dev,dtype=torch.bfloat16)
        bench(f'{name} sdpa',4*n*n*d/1e12,'TFLOP/s',lambda:F.scaled_dot_product_attention(q,q,q)); del q
        blocks=nn.ModuleList([Block(d,h,f) for _ in range(4)]).to(dev,torch.bfloat16)
        e=torch.randn(6,d,device=dev); ang=torch.randn(1,n,1,d//h//2,device=dev); rot=(ang.cos(),ang.sin())
        up=blocks[0].f[0]
        bench(f'{name} linear up',2*n*d*f/1e12,'TFLOP/s',lambda:up(x))
        fl=(8*n*d*d+4*n*n*d + 4*n*d*d+4*512*d*d+4*n*512*d + 4*n*d*f)/1e12
        bench(f'{name} block',fl,'TFLOP/s',lambda:blocks[0](x,e,ctx,rot))
        def st():
            y=x
            for bl in blocks: y=bl(y,e,ctx,rot)
        bench(f'{name} 4 blocks',4*fl,'TFLOP/s',st); del blocks; torch.cuda.empty_cache()
main()
